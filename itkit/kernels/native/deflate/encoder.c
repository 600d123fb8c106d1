/* DEFLATE (RFC 1951) for voxels; the encoder uses the size of a sample and the length of a row.
 *
 * For each position, the encoder looks up the last position with the same bytes once, as the fast modes of libdeflate,
 * ISA-L and LZ4 do, but for whole samples. It collects the tokens of a block and makes the block's codes from their
 * counts. Measured on CT: even a distant match of two samples pays off; short blocks save more than a second table for
 * longer matches would; and with short blocks, neither that table nor weighing each match against its literals saves
 * anything. On label maps with rough borders, matches other than runs and repeated rows cost more than they save. */
#include "deflate.h"

/* A stored block takes 5 bytes more than its content, which has at least BYTE_TOKENS bytes. */
EXPORT int64_t itkit_deflate_bound(int64_t plain_bytes) { return plain_bytes + plain_bytes / 512 + 64; }

/* Compress into `out`. Returns the number of bytes written, -1 if `capacity` is below the bound, -2 if memory runs out.
 * A piece that is not the last of its stream ends with an empty stored block, that is at a whole byte, so that the next
 * piece may follow it. */
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
