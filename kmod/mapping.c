// SPDX-License-Identifier: GPL-2.0-only
/*
 * mapping.c - the pages that user space may look at, and nothing more.
 *
 * They are written by the kernel and never read back by it.  They cannot be
 * made writable, be written to by a debugger, or be pinned.
 */
#include "ummunotify.h"

/* What any other address space sees of a file: no watch is valid there. */
static struct page *nothing;

/*
 * fork() does not copy the page tables of such a mapping, so a child comes here
 * at its first look, however it was made.
 */
static vm_fault_t fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct ummunotify_file *file = vma->vm_file->private_data;
	struct page *page;

	if (vmf->pgoff >= file->page_count)
		return VM_FAULT_SIGBUS;
	if (file->language == UMMUNOTIFY_TODAY &&
	    vma->vm_mm != file->space->notifier.mm) {
		page = nothing;
	} else {
		/* Acquire: pairs with publish() in slots.c. */
		page = smp_load_acquire(&file->pages[vmf->pgoff]);
		if (!page)
			return VM_FAULT_SIGBUS;
	}
	get_page(page);
	vmf->page = page;
	return 0;
}

static const struct vm_operations_struct operations = {
	.fault = fault,
};

/**
 * ummunotify_mmap() - map the shared pages, read-only
 * @filp: the descriptor
 * @vma: where
 *
 * The calls of 2010 have one page, and have never minded a private mapping.
 *
 * Return: 0 or -errno.
 */
int ummunotify_mmap(struct file *filp, struct vm_area_struct *vma)
{
	struct ummunotify_file *file = filp->private_data;
	unsigned long count = vma_pages(vma);

	if (!ummunotify_file_is_mine(file))
		return -EIO;
	if (READ_ONCE(file->language) == UMMUNOTIFY_TODAY) {
		/* Not VM_SHARED: mmap() clears that for read-only files. */
		if (!(vma->vm_flags & VM_MAYSHARE))
			return -EINVAL;
	} else {
		int error = ummunotify_speak(file, UMMUNOTIFY_2010);

		if (error)
			return error;
	}
	if (vma->vm_flags & VM_WRITE)
		return -EACCES;
	if (vma->vm_pgoff >= file->page_count ||
	    count > file->page_count - vma->vm_pgoff)
		return -EINVAL;

	vm_flags_mod(vma, VM_IO | VM_DONTEXPAND | VM_DONTDUMP, VM_MAYWRITE);
	vma->vm_ops = &operations;
	return 0;
}

/**
 * ummunotify_mapping_init() - make the page of zeros
 *
 * Return: 0 or -ENOMEM.
 */
int ummunotify_mapping_init(void)
{
	nothing = alloc_page(GFP_KERNEL | __GFP_ZERO);
	return nothing ? 0 : -ENOMEM;
}

/**
 * ummunotify_mapping_exit() - free it; no file is left, and so no mapping
 */
void ummunotify_mapping_exit(void)
{
	put_page(nothing);
}
