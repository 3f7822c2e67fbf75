/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/strtab.h"

#include <string.h>

static uint64_t hw_hash_text(const char *text, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u; // FNV-1a
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
	return h ^ h >> 29;
}

void hw_strtab_init(struct hw_strtab *tab)
{
	*tab = (struct hw_strtab){ 0 };
}

void hw_strtab_deinit(struct hw_strtab *tab)
{
	hw_vec_foreach(s, &tab->strings) free(*s);
	hw_vec_deinit(&tab->strings);
	free(tab->slots);
	*tab = (struct hw_strtab){ 0 };
}

static bool hw_strtab_rehash(struct hw_strtab *tab)
{
	size_t count = tab->slot_count ? tab->slot_count * 2 : 256;
	uint32_t *slots = calloc(count, sizeof(*slots));
	if (!slots)
		return false;
	for (size_t i = 0; i < tab->strings.count; i++) {
		const char *s = tab->strings.data[i];
		size_t at = hw_hash_text(s, strlen(s)) & (count - 1);
		while (slots[at])
			at = (at + 1) & (count - 1);
		slots[at] = (uint32_t)i + 1;
	}
	free(tab->slots);
	tab->slots = slots;
	tab->slot_count = count;
	return true;
}

uint32_t hw_strtab_intern(struct hw_strtab *tab, const char *text, size_t len)
{
	if (!len)
		return 0;
	if ((tab->strings.count + 1) * 2 > tab->slot_count && !hw_strtab_rehash(tab))
		return UINT32_MAX;
	size_t at = hw_hash_text(text, len) & (tab->slot_count - 1);
	for (; tab->slots[at]; at = (at + 1) & (tab->slot_count - 1)) {
		const char *s = tab->strings.data[tab->slots[at] - 1];
		if (!strncmp(s, text, len) && !s[len])
			return tab->slots[at];
	}
	char *copy = strndup(text, len);
	if (!copy || !hw_vec_push(&tab->strings, copy)) {
		free(copy);
		return UINT32_MAX;
	}
	return tab->slots[at] = (uint32_t)tab->strings.count;
}

const char *hw_strtab_get(const struct hw_strtab *tab, uint32_t id)
{
	return id && id <= tab->strings.count ? tab->strings.data[id - 1] : "";
}
