/* DEFLATE (RFC 1951) for voxels: knows the size of a sample and the length of a row.
 *
 * One look at each place for the last place with the same bytes, as fast modes of libdeflate, ISA-L and LZ4 do, but
 * for whole samples; tokens are kept for a block, whose codes are made from their counts. Measured on CT: a far match
 * of two samples is worth taking; short blocks save more than a second table for longer matches does, and beside them
 * neither that nor weighing each match against its literals saves anything. On label maps with rough borders, matches
 * other than runs and repeated rows cost more than they save. */
#include "deflate.h"

/* A stored block takes 5 bytes more than its content, and a block has at least BYTE_TOKENS bytes of it. */
EXPORT int64_t itkit_deflate_bound(int64_t plain_bytes) { return plain_bytes + plain_bytes / 512 + 64; }

/* Compress into `out`; gives the bytes written, -1 if `capacity` is below the bound, -2 without memory. What is not the
 * last piece of a stream ends at a whole byte by an empty stored block, so that the next piece may follow it. */
EXPORT int64_t itkit_deflate(const uint8_t *plain, int64_t plain_bytes, int64_t item_bytes, int64_t row_bytes, int last,
                             uint8_t *out, int64_t capacity) {
    if (capacity < itkit_deflate_bound(plain_bytes)) return -1;
    Deflater *d = malloc(sizeof *d);
    if (!d) return -2;
    int words = item_bytes % 2 == 0;
    BitWriter w = {out, 0, 0};
    d->plain = d->next = plain;
    d->end = plain + plain_bytes;
    d->full = d->tokens + (words ? WORD_TOKENS : BYTE_TOKENS);
    while (d->next < d->end) {
        const uint8_t *begin = d->next;
        d->token = d->tokens;
        memset(d->counts, 0, sizeof d->counts);
        if (words)
            deflate_words(d, item_bytes);
        else
            deflate_bytes(d, row_bytes);
        deflate_block(&w, d, begin, d->next - begin, last && d->next == d->end);
    }
    free(d);
    if (!last || !plain_bytes) deflate_stored(&w, plain, 0, last);
    return w.next - out + (w.count > 0);
}
