# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# cache.sh - says where kernels are kept; to be sourced.
#
# Outside of the clone, so that all clones share what took long to get.
# shellcheck disable=SC2034 # for the script that sources this
kernels=$(readlink -m \
	"${UMMU_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ummunotify}/kernels")
