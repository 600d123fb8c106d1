/* The encoder under sanitizers: reads pieces, each compressed in buffers of just its size, and writes what came out.
 *
 * A piece is five numbers of 64 bits (bytes, size of a sample, of a row, whether it is the last, bytes of room beyond
 * the bound) and its bytes; the answer is the number that the encoder returned, and its bytes. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int64_t itkit_deflate_bound(int64_t plain_bytes);
int64_t itkit_deflate(const uint8_t *plain, int64_t plain_bytes, int64_t item_bytes, int64_t row_bytes, int last,
                      uint8_t *out, int64_t capacity);

int main(void) {
    int64_t head[5];
    while (fread(head, sizeof *head, 5, stdin) == 5) {
        int64_t capacity = itkit_deflate_bound(head[0]) + head[4];
        uint8_t *plain = malloc(head[0] ? (size_t)head[0] : 1), *out = malloc(capacity > 0 ? (size_t)capacity : 1);
        if (!plain || !out || fread(plain, 1, (size_t)head[0], stdin) != (size_t)head[0]) return 2;
        int64_t size = itkit_deflate(plain, head[0], head[1], head[2], (int)head[3], out, capacity);
        fwrite(&size, sizeof size, 1, stdout);
        if (size > 0) fwrite(out, 1, (size_t)size, stdout);
        free(plain);
        free(out);
    }
    return 0;
}
