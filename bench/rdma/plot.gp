# SPDX-License-Identifier: MIT
# plot.gp - draws what bench-rdma measured: into the file OUTPUT, or as text.
#
# usage: gnuplot -e "data='FILE'" [-e "output='FILE.svg'"] plot.gp
if (exists("output")) {
	set terminal svg size 800,500
	set output output
} else {
	set terminal dumb size 100,30
}
set title "A message over RDMA, an adapter in software, by how its memory is registered"
set xlabel "bytes"
set ylabel "us"
set logscale x 2
set logscale y
set key left top
plot data using 1:2 with linespoints title "each time", \
	data using 1:5 with linespoints title "ummunotify's cache", \
	data using 1:8 with linespoints title "for good"
