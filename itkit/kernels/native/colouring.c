/* Colour a slice for the screen: values to grey by one table, grey under classes to RGB by another, in one pass. */
#include "common.h"

enum { STRETCH = 512 };

#define DEFINE_GREY(size, T)                                                                                           \
    static void grey_##size(const char *values, int64_t stride, const uint8_t *table, uint8_t *out, int64_t n) {       \
        for (int64_t i = 0; i < n; i++) out[i] = table[*(const T *)(values + i * stride)];                             \
    }
DEFINE_GREY(1, uint8_t)
DEFINE_GREY(2, uint16_t)

CLONES static void plain(const uint8_t *grey, uint32_t *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = 0xFF000000u | grey[i] * 0x010101u;
}

/* shape: rows and columns. values: bytes or 16-bit integers (`size`), strides in bytes, of any sign; NULL is black.
 * grey: the grey of each value. places: the place of each pixel's class in the table, bytes, or NULL: no class has a
 * colour. table: RGB, entry 256 * place + grey. out: RGB, contiguous. */
EXPORT void itkit_colour(int size, const char *values, const int64_t *strides, const uint8_t *grey, const char *places,
                         const int64_t *place_strides, const uint32_t *table, const int64_t *shape, uint32_t *out) {
    uint8_t shade[STRETCH] = {0};
    for (int64_t row = 0; row < shape[0]; row++)
        for (int64_t begin = 0; begin < shape[1]; begin += STRETCH, out += STRETCH) {
            int64_t n = shape[1] - begin < STRETCH ? shape[1] - begin : STRETCH;
            if (values) {
                const char *from = values + row * strides[0] + begin * strides[1];
                (size == 1 ? grey_1 : grey_2)(from, strides[1], grey, shade, n);
            }
            if (places) {
                const char *from = places + row * place_strides[0] + begin * place_strides[1];
                for (int64_t i = 0; i < n; i++)
                    out[i] = table[*(const uint8_t *)(from + i * place_strides[1]) << 8 | shade[i]];
            } else {
                plain(shade, out, n);
            }
            if (n < STRETCH) out -= STRETCH - n;
        }
}
