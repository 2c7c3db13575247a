/* SPDX-License-Identifier: MIT */
/* descriptor.h - keep descriptors out of the way of others. */
#ifndef UMMU_DESCRIPTOR_H
#define UMMU_DESCRIPTOR_H

/**
 * ummu_descriptor_move_high - give a descriptor a high number
 *
 * Returns the new number, or the old one if there is no room.
 *
 * Programs close descriptors that they do not own.  New ones get the lowest
 * free number, so one near the top is not taken by another file by chance:
 * who uses it then finds it closed.
 */
int ummu_descriptor_move_high(int fd);

#endif
