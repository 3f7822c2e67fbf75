/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A target made of pieces of our own memory: what tests and fuzzers walk.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "target/target.h"

struct hw_image {
	struct hw_target target;
	struct hw_image_piece *pieces; // by address; their bytes are borrowed
	size_t count;
};

// The piece that contains addr, or NULL.
static const struct hw_image_piece *hw_image_find(const struct hw_image *image, hw_addr_t addr)
{
	size_t lo = 0, hi = image->count;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (image->pieces[mid].addr <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo || addr - image->pieces[lo - 1].addr >= image->pieces[lo - 1].len)
		return NULL;
	return &image->pieces[lo - 1];
}

static const void *hw_image_map(struct hw_target *self, hw_addr_t addr, size_t len)
{
	const struct hw_image_piece *piece = hw_image_find((struct hw_image *)self, addr);
	if (!piece || !piece->bytes || piece->len - (addr - piece->addr) < len)
		return NULL;
	return (const char *)piece->bytes + (addr - piece->addr);
}

static size_t hw_image_read_some(struct hw_target *self, hw_addr_t addr, void *buf, size_t len)
{
	size_t done = 0;
	while (done < len) {
		const struct hw_image_piece *piece = hw_image_find((struct hw_image *)self,
								   addr + done);
		if (!piece || !piece->bytes)
			break;
		size_t at = addr + done - piece->addr;
		size_t n = hw_min(len - done, piece->len - at);
		memcpy((char *)buf + done, (const char *)piece->bytes + at, n);
		done += n;
	}
	return done;
}

static void hw_image_close(struct hw_target *self)
{
	hw_target_deinit(self);
	free(((struct hw_image *)self)->pieces);
	free(self);
}

static const struct hw_reader_ops hw_image_ops = {
	.name = "image",
	.kind = HW_TARGET_IMAGE,
	.is_thread_safe = true,
	.read_some = hw_image_read_some,
	.map = hw_image_map,
	.close = hw_image_close,
};

static int hw_image_piece_compare(const void *a, const void *b)
{
	const struct hw_image_piece *x = a, *y = b;
	return (x->addr > y->addr) - (x->addr < y->addr);
}

struct hw_error *hw_target_open_image(const struct hw_image_piece *pieces, size_t count,
				      struct hw_target **ret)
{
	struct hw_image *image = calloc(1, sizeof(*image));
	if (!image)
		return &hw_enomem;
	struct hw_target *target = &image->target;
	target->ops = &hw_image_ops;
	target->machine = hw_machine_default();
	target->page_bytes = HW_PAGE_BYTES;
	hw_strtab_init(&target->strings);
	struct hw_error *err = NULL;
	target->file_root = strdup("");
	image->pieces = calloc(count ? count : 1, sizeof(*pieces));
	if (!target->file_root || !image->pieces)
		err = &hw_enomem;
	for (size_t i = 0; !err && i < count; i++) {
		const struct hw_image_piece *piece = &pieces[i];
		struct hw_mapping mapping = { .start = piece->addr,
					      .end = piece->addr + piece->len,
					      .flags = piece->flags,
					      .path = piece->path };
		if (!piece->len)
			continue;
		if (mapping.end < mapping.start)
			err = hw_error_at(HW_ERROR_INVALID, piece->addr,
					  "piece %zu of the image wraps around", i);
		else
			err = hw_target_add_mapping(target, &mapping);
		image->pieces[image->count++] = *piece;
	}
	if (!err) {
		qsort(image->pieces, image->count, sizeof(*image->pieces), hw_image_piece_compare);
		for (size_t i = 1; !err && i < image->count; i++)
			if (image->pieces[i - 1].addr + image->pieces[i - 1].len >
			    image->pieces[i].addr)
				err = hw_error_at(HW_ERROR_INVALID, image->pieces[i].addr,
						  "two pieces of the image overlap");
		hw_target_sort_mappings(target);
	}
	if (err) {
		hw_image_close(target);
		return err;
	}
	*ret = target;
	return NULL;
}
