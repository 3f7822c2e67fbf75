/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What a piece costs the kernel is the look-up of its page, some 0.4 us, and hardly depends on its length: pieces of
// one page are taken as one. Two processors need two thirds of the time of one, not half: they share the lock of the
// target's mappings. Helpers are woken when the process stands still and not before: one that is awake keeps the
// threads that are to stop from getting there.
#include "target/read_set.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "target/window.h"

enum {
	HW_READ_SET_HELPERS_MAX = 7,
	HW_READ_SET_SPANS_PER_HELPER = 256, // it takes some 40 us to wake one
	HW_READ_SET_CHUNK = 64,             // spans taken at once where there are helpers
	HW_READ_SET_CHUNK_ALONE = 1024,     // IOV_MAX: the most that one system call takes
};

struct hw_read_set {
	struct hw_target *target;           // borrowed
	const struct hw_reader_ops *source; // the target's own
	struct hw_reader_ops recording, replaying;
	pthread_mutex_t lock; // of what is recorded
	HW_VEC(struct hw_span) spans;
	HW_VEC(hw_addr_t) holes;
	bool is_too_much;
	atomic_bool has_missed;
	// sealed:
	size_t *offsets; // of each span's bytes
	uint8_t *bytes;
	// being filled:
	atomic_size_t next, done; // spans handed out, spans that were taken
	atomic_bool has_failed, is_closing;
	size_t chunk;
	sem_t wake;
	pthread_t helpers[HW_READ_SET_HELPERS_MAX];
	unsigned helper_count;
};

// ---- record ----

// What is looked at twice in a row is remembered once.
static bool hw_read_set_has_just_read(const struct hw_read_set *set, hw_addr_t addr, size_t len)
{
	if (!set->spans.count)
		return false;
	const struct hw_span last = set->spans.data[set->spans.count - 1];
	return addr >= last.addr && addr - last.addr <= last.len &&
	       len <= last.len - (addr - last.addr);
}

// `got` of `len` bytes could be read. False: that is too much to remember.
static bool hw_read_set_push(struct hw_read_set *set, hw_addr_t addr, size_t len, size_t got)
{
	if (got && !hw_read_set_has_just_read(set, addr, got)) {
		const struct hw_span span = { .addr = addr, .len = (uint32_t)got };
		if (got > HW_READ_SET_BYTES_MAX || addr + got < addr ||
		    set->spans.count >= HW_READ_SET_SPANS_MAX || !hw_vec_push(&set->spans, span))
			return false;
	}
	return got == len ||
	       (set->holes.count < HW_READ_SET_HOLES_MAX && hw_vec_push(&set->holes, addr + got));
}

static void hw_read_set_note(struct hw_read_set *set, hw_addr_t addr, size_t len, size_t got)
{
	pthread_mutex_lock(&set->lock);
	if (!set->is_too_much && !hw_read_set_push(set, addr, len, got))
		set->is_too_much = true;
	pthread_mutex_unlock(&set->lock);
}

static size_t hw_recording_read_some(struct hw_target *self, hw_addr_t addr, void *buf, size_t len)
{
	struct hw_read_set *set = self->read_set;
	size_t got = set->source->read_some(self, addr, buf, len);
	hw_read_set_note(set, addr, len, got);
	return got;
}

static size_t hw_recording_read_many(struct hw_target *self, const struct hw_span *spans,
				     size_t count, void *buf)
{
	struct hw_read_set *set = self->read_set;
	size_t got = set->source->read_many(self, spans, count, buf);
	// The one that it ended at comes again, by itself.
	for (size_t i = 0; i < got; i++)
		hw_read_set_note(set, spans[i].addr, spans[i].len, spans[i].len);
	return got;
}

void hw_read_set_begin_record(struct hw_read_set *set)
{
	set->target->ops = &set->recording;
}

void hw_read_set_end(struct hw_read_set *set)
{
	set->target->ops = set->source;
}

// ---- seal ----

static int hw_span_compare(const void *a, const void *b)
{
	const struct hw_span *x = a, *y = b;
	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

// Sorts; joins what overlaps, touches, or lies in one page. How many bytes that is.
static uint64_t hw_read_set_merge(struct hw_read_set *set)
{
	struct hw_span *spans = set->spans.data;
	size_t kept = 0;
	uint64_t total = 0;
	if (set->spans.count)
		qsort(spans, set->spans.count, sizeof(*spans), hw_span_compare);
	for (size_t i = 0; i < set->spans.count; i++) {
		struct hw_span *last = kept ? &spans[kept - 1] : NULL;
		hw_addr_t last_end = last ? last->addr + last->len : 0;
		hw_addr_t end = hw_max(spans[i].addr + spans[i].len, last_end);
		bool is_near = last && (spans[i].addr <= last_end ||
					hw_align_down(spans[i].addr, HW_PAGE_BYTES) ==
						hw_align_down(last_end - 1, HW_PAGE_BYTES));
		if (is_near && end - last->addr <= HW_READ_SET_BYTES_MAX) {
			total += end - last_end;
			last->len = (uint32_t)(end - last->addr);
			continue;
		}
		total += spans[i].len;
		spans[kept++] = spans[i];
	}
	set->spans.count = kept;
	return total;
}

static void hw_read_set_work(struct hw_read_set *set)
{
	const size_t count = set->spans.count;
	for (;;) {
		size_t from = atomic_fetch_add(&set->next, set->chunk);
		if (from >= count)
			return;
		size_t n = hw_min(set->chunk, count - from);
		if (hw_target_read_many(set->target, set->spans.data + from, n,
					set->bytes + set->offsets[from]))
			atomic_store(&set->has_failed, true);
		atomic_fetch_add(&set->done, n);
	}
}

static void *hw_read_set_help(void *arg)
{
	struct hw_read_set *set = arg;
	for (;;) {
		while (sem_wait(&set->wake) && errno == EINTR)
			;
		if (atomic_load(&set->is_closing))
			return NULL;
		hw_read_set_work(set);
	}
}

// Fewer than were wanted are no error.
static void hw_read_set_start_helpers(struct hw_read_set *set)
{
	cpu_set_t processors;
	size_t want = set->spans.count / HW_READ_SET_SPANS_PER_HELPER;
	if (!set->source->is_thread_safe || sched_getaffinity(0, sizeof(processors), &processors))
		return;
	want = hw_min(want, hw_min((size_t)CPU_COUNT(&processors) - 1, HW_READ_SET_HELPERS_MAX));
	// Signals to this program are for its own threads.
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (set->helper_count < want &&
	       !pthread_create(&set->helpers[set->helper_count], NULL, hw_read_set_help, set))
		set->helper_count++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

bool hw_read_set_seal(struct hw_read_set *set)
{
	if (set->is_too_much)
		return false;
	uint64_t total = hw_read_set_merge(set);
	if (total > HW_READ_SET_BYTES_MAX)
		return false;
	set->offsets = malloc((set->spans.count + 1) * sizeof(*set->offsets));
	set->bytes = malloc(total + 1);
	if (!set->offsets || !set->bytes)
		return false;
	size_t offset = 0;
	for (size_t i = 0; i < set->spans.count; i++) {
		set->offsets[i] = offset;
		offset += set->spans.data[i].len;
	}
	atomic_store(&set->next, set->spans.count);
	hw_read_set_start_helpers(set);
	set->chunk = set->helper_count ? HW_READ_SET_CHUNK : HW_READ_SET_CHUNK_ALONE;
	return true;
}

// ---- fill ----

bool hw_read_set_fill(struct hw_read_set *set)
{
	atomic_store(&set->has_failed, false);
	atomic_store(&set->done, 0);
	atomic_store(&set->next, 0);
	for (unsigned i = 0; i < set->helper_count; i++)
		sem_post(&set->wake);
	hw_read_set_work(set);
	hw_vec_foreach(hole, &set->holes)
	{
		uint8_t byte;
		if (hw_target_read_some(set->target, *hole, &byte, 1))
			atomic_store(&set->has_failed, true);
	}
	while (atomic_load(&set->done) < set->spans.count) // what helpers have in hand
		sched_yield();
	return !atomic_load(&set->has_failed);
}

// ---- replay ----

static bool hw_read_set_has_hole(const struct hw_read_set *set, hw_addr_t addr)
{
	hw_vec_foreach(hole, &set->holes) if (*hole == addr) return true;
	return false;
}

static size_t hw_replaying_read_some(struct hw_target *self, hw_addr_t addr, void *buf, size_t len)
{
	struct hw_read_set *set = self->read_set;
	size_t done = 0;
	while (done < len) {
		size_t i = hw_vec_find_beyond(&set->spans, addr, addr + done);
		const struct hw_span *span = i ? &set->spans.data[i - 1] : NULL;
		uint64_t from = span ? addr + done - span->addr : 0;
		if (!span || from >= span->len)
			break;
		size_t n = hw_min(len - done, span->len - from);
		memcpy((uint8_t *)buf + done, set->bytes + set->offsets[i - 1] + from, n);
		done += n;
	}
	if (done == len || hw_read_set_has_hole(set, addr + done))
		return done;
	atomic_store(&set->has_missed, true);
	return done;
}

void hw_read_set_begin_replay(struct hw_read_set *set)
{
	atomic_store(&set->has_missed, false);
	set->target->ops = &set->replaying;
}

bool hw_read_set_has_missed(const struct hw_read_set *set)
{
	return atomic_load(&set->has_missed);
}

const struct hw_span *hw_read_set_spans(const struct hw_read_set *set, size_t *ret_count)
{
	*ret_count = set->spans.count;
	return set->spans.data;
}

// ---- life ----

struct hw_error *hw_read_set_create(struct hw_target *target, struct hw_read_set **ret)
{
	struct hw_read_set *set = calloc(1, sizeof(*set));
	if (!set)
		return &hw_enomem;
	set->target = target;
	set->source = target->ops;
	set->recording = *target->ops;
	set->recording.read_some = hw_recording_read_some;
	set->recording.read_many = target->ops->read_many ? hw_recording_read_many : NULL;
	set->recording.map = NULL;
	// It is of one moment: it does not end, change, or stop. Nor is it worth a thread to read it.
	set->replaying = (struct hw_reader_ops){
		.name = target->ops->name,
		.kind = target->ops->kind,
		.is_live = target->ops->is_live,
		.read_some = hw_replaying_read_some,
	};
	pthread_mutex_init(&set->lock, NULL);
	sem_init(&set->wake, 0, 0);
	target->read_set = set;
	*ret = set;
	return NULL;
}

void hw_read_set_destroy(struct hw_read_set *set)
{
	if (!set)
		return;
	set->target->ops = set->source;
	set->target->read_set = NULL;
	atomic_store(&set->is_closing, true);
	for (unsigned i = 0; i < set->helper_count; i++)
		sem_post(&set->wake);
	for (unsigned i = 0; i < set->helper_count; i++)
		pthread_join(set->helpers[i], NULL);
	hw_vec_deinit(&set->spans);
	hw_vec_deinit(&set->holes);
	free(set->offsets);
	free(set->bytes);
	pthread_mutex_destroy(&set->lock);
	sem_destroy(&set->wake);
	free(set);
}
