/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What thread states point at: their data stacks, and in builds without the GIL their free lists and
// the blocks that wait until no other thread can still read them.
#include "base/bytes.h"
#include "heap/heap_internal.h"

enum {
	HW_THREADS_MAX = 1 << 16,
	HW_STACK_CHUNKS_MAX = 1 << 16,
	HW_FREE_QUEUE_MAX = 1 << 16, // chunks of one
	HW_WORK_CHUNK_BYTES_MAX = 64 << 10,
};

// A piece of a thread's data stack: a block of an allocator, or a mapping of its own.
static void hw_claim_stack_chunk(struct hw_worker *worker, hw_addr_t chunk, uint64_t bytes)
{
	struct hw_heap *heap = worker->heap;
	if (hw_heap_slot_at(heap, chunk).category) {
		hw_root_claim(worker, chunk, HW_CLAIM_STACK_CHUNK, "");
		return;
	}
	const struct hw_mapping *m = hw_target_find_mapping(heap->in.target, chunk);
	if (!m || !hw_mapping_is_private_writable(m) || !bytes || bytes > m->end - chunk ||
	    heap->stack_chunks.count >= HW_STACK_CHUNKS_MAX) {
		hw_issues_add(
			heap->in.issues, HW_ERROR_CORRUPT, chunk,
			"the data stack chunk at %#llx is in no private writable mapping that "
			"has room for its %llu bytes",
			(unsigned long long)chunk, (unsigned long long)bytes);
		return;
	}
	if (!hw_vec_push(&heap->stack_chunks, ((struct hw_stack_chunk){ chunk, chunk + bytes })))
		hw_issues_take(heap->in.issues, &hw_enomem);
}

static void hw_claim_data_stack(struct hw_worker *worker, hw_addr_t thread)
{
	const struct hw_python_layout *l = &worker->heap->in.python->layout;
	struct hw_links links = { 0 };
	uint64_t chunk, bytes, previous;
	if (l->tstate_datastack_chunk == HW_ABSENT || l->stack_chunk_size == HW_ABSENT ||
	    !hw_pages_read_word(&worker->pages, thread + (uint64_t)l->tstate_datastack_chunk,
				&chunk))
		return;
	while (links.count < HW_STACK_CHUNKS_MAX && hw_links_enter(&links, &worker->sink, chunk)) {
		if (!hw_pages_read_word(&worker->pages, chunk + (uint64_t)l->stack_chunk_size,
					&bytes) ||
		    !hw_pages_read_word(&worker->pages, chunk + (uint64_t)l->stack_chunk_previous,
					&previous))
			return;
		hw_claim_stack_chunk(worker, chunk, bytes);
		chunk = previous;
	}
}

// ---- delayed frees ----
// Objects/obmalloc.c: a ring of chunks {next, prev, rd_idx, wr_idx, items}, of items {pointer, goal}. The
// pointer's low bit says that it is an object, which speaks for itself.

static void hw_claim_work_items(struct hw_worker *worker, hw_addr_t chunk)
{
	const struct hw_python_layout *l = &worker->heap->in.python->layout;
	uint64_t first, end, block;
	uint64_t room = (uint64_t)(l->work_chunk_size - l->work_chunk_array) /
			(uint64_t)l->work_item_size;
	if (!hw_pages_read_word(&worker->pages, chunk + (uint64_t)l->work_chunk_first, &first) ||
	    !hw_pages_read_word(&worker->pages, chunk + (uint64_t)l->work_chunk_end, &end))
		return;
	if (first > end || end > room) {
		hw_issues_add(worker->heap->in.issues, HW_ERROR_CORRUPT, chunk,
			      "the queue of delayed frees at %#llx has items %llu to %llu of %llu",
			      (unsigned long long)chunk, (unsigned long long)first,
			      (unsigned long long)end, (unsigned long long)room);
		return;
	}
	for (uint64_t i = first; i < end; i++)
		if (hw_pages_read_word(&worker->pages,
				       chunk + (uint64_t)l->work_chunk_array +
					       i * (uint64_t)l->work_item_size,
				       &block) &&
		    !(block & 1))
			hw_root_claim(worker, block, HW_CLAIM_DELAYED_FREE, "");
}

static void hw_claim_free_queue(struct hw_worker *worker, hw_addr_t head)
{
	const struct hw_python_layout *l = &worker->heap->in.python->layout;
	struct hw_links links = { 0 };
	uint64_t chunk;
	if (l->work_chunk_array < 0 || l->work_chunk_first < 0 || l->work_chunk_end < 0 ||
	    l->work_item_size < (int32_t)l->word_bytes ||
	    l->work_chunk_size > HW_WORK_CHUNK_BYTES_MAX ||
	    l->work_chunk_size < l->work_chunk_array ||
	    !hw_pages_read_word(&worker->pages, head, &chunk))
		return;
	while (chunk != head && links.count < HW_FREE_QUEUE_MAX &&
	       hw_links_enter(&links, &worker->sink, chunk)) {
		hw_root_claim(worker, chunk, HW_CLAIM_FREE_QUEUE, "");
		hw_claim_work_items(worker, chunk);
		if (!hw_pages_read_word(&worker->pages, chunk, &chunk))
			return;
	}
}

// Does it lead back to its interpreter? If not, that is an issue.
static bool hw_is_thread_of(struct hw_worker *worker, hw_addr_t thread, hw_addr_t interpreter)
{
	const struct hw_python_layout *l = &worker->heap->in.python->layout;
	uint64_t back;
	if (l->tstate_interp == HW_ABSENT ||
	    (hw_pages_read_word(&worker->pages, thread + (uint64_t)l->tstate_interp, &back) &&
	     back == interpreter))
		return true;
	hw_issues_add(worker->heap->in.issues, HW_ERROR_CORRUPT, thread,
		      "no PyThreadState at %#llx: it does not lead back to its interpreter",
		      (unsigned long long)thread);
	return false;
}

static void hw_claim_member(struct hw_worker *worker, hw_addr_t owner, int32_t member,
			    enum hw_claim_kind kind)
{
	uint64_t block;
	if (member != HW_ABSENT &&
	    hw_pages_read_word(&worker->pages, owner + (uint64_t)member, &block))
		hw_root_claim(worker, block, kind, "");
}

void hw_heap_claim_threads(struct hw_worker *worker, hw_addr_t interpreter)
{
	const struct hw_python_layout *l = &worker->heap->in.python->layout;
	struct hw_links links = { 0 };
	uint64_t thread;
	hw_claim_member(worker, interpreter, l->interp_unique_ids, HW_CLAIM_UNIQUE_IDS);
	hw_claim_member(worker, interpreter, l->interp_qsbr, HW_CLAIM_QSBR);
	if (l->interp_mem_free_queue != HW_ABSENT)
		hw_claim_free_queue(worker, interpreter + (uint64_t)l->interp_mem_free_queue);
	if (l->interp_threads_head == HW_ABSENT || l->tstate_next == HW_ABSENT ||
	    !hw_pages_read_word(&worker->pages, interpreter + (uint64_t)l->interp_threads_head,
				&thread))
		return;
	while (links.count < HW_THREADS_MAX && hw_links_enter(&links, &worker->sink, thread) &&
	       hw_is_thread_of(worker, thread, interpreter)) {
		hw_root_claim(worker, thread, HW_CLAIM_THREAD, "");
		hw_claim_data_stack(worker, thread);
		hw_claim_member(worker, thread, l->tstate_refcounts, HW_CLAIM_THREAD_COUNTS);
		if (l->tstate_freelists != HW_ABSENT)
			hw_heap_claim_free_lists(worker, thread);
		if (l->tstate_mem_free_queue != HW_ABSENT)
			hw_claim_free_queue(worker, thread + (uint64_t)l->tstate_mem_free_queue);
		if (!hw_pages_read_word(&worker->pages, thread + (uint64_t)l->tstate_next, &thread))
			return;
	}
}
