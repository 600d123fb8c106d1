/* Contents of the boxes into which cuts along the axes divide a volume. Rows are contiguous; strides are in bytes. */
#include "common.h"

#define DEFINE_NONZERO(number, name, T)                                                                                \
    CLONES static int64_t nonzero_##name(const char *row, int64_t begin, int64_t end) {                                \
        const T *values = (const T *)row;                                                                              \
        int64_t total = 0;                                                                                             \
        while (begin < end) { /* parts short enough for a 16-bit counter, so that vectors are wide */                  \
            int64_t stop = end - begin > 128 * 256 ? begin + 128 * 256 : end;                                          \
            uint16_t count = 0;                                                                                        \
            for (int64_t i = begin; i < stop; i++) count = (uint16_t)(count + (values[i] != 0));                       \
            total += count;                                                                                            \
            begin = stop;                                                                                              \
        }                                                                                                              \
        return total;                                                                                                  \
    }
FOR_TYPES(DEFINE_NONZERO)

typedef int64_t (*NonZero)(const char *, int64_t, int64_t);
#define NONZERO_ENTRY(number, name, T) [number] = nonzero_##name,
static const NonZero NONZEROS[] = {FOR_TYPES(NONZERO_ENTRY)};

/* Count the non-zero voxels of every box. Each axis has n_cuts cuts (boxes + 1) at the given positions. The caller
 * zeroes the table of (z, y, x) boxes. */
EXPORT void itkit_box_counts(int type, const char *source, const int64_t *strides, const int64_t *n_cuts,
                             const int64_t *z_cuts, const int64_t *y_cuts, const int64_t *x_cuts, int64_t *table) {
    int64_t nx = n_cuts[2] - 1;
    for (int64_t a = 0; a + 1 < n_cuts[0]; a++)
        for (int64_t z = z_cuts[a]; z < z_cuts[a + 1]; z++)
            for (int64_t b = 0; b + 1 < n_cuts[1]; b++) {
                int64_t *boxes = table + (a * (n_cuts[1] - 1) + b) * nx;
                for (int64_t y = y_cuts[b]; y < y_cuts[b + 1]; y++) {
                    const char *row = source + z * strides[0] + y * strides[1];
                    for (int64_t c = 0; c < nx; c++) boxes[c] += NONZEROS[type](row, x_cuts[c], x_cuts[c + 1]);
                }
            }
}

#define DEFINE_MASK(size, T)                                                                                           \
    static uint64_t mask_##size(const char *row, int64_t begin, int64_t end, uint64_t first, const uint64_t *bits) {   \
        const T *values = (const T *)row, origin = (T)first;                                                           \
        uint64_t mask = bits[(T)(values[begin] - origin)];                                                             \
        for (int64_t i = begin + 1; i < end; i++)                                                                      \
            if (values[i] != values[i - 1]) mask |= bits[(T)(values[i] - origin)];                                     \
        return mask;                                                                                                   \
    }
FOR_SIZES(DEFINE_MASK)

typedef uint64_t (*Mask)(const char *, int64_t, int64_t, uint64_t, const uint64_t *);

/* Set the bits of the classes in every box; bits[(value - first) modulo the type's range] is the bit of a class. */
EXPORT void itkit_box_masks(int size, const char *source, const int64_t *strides, const int64_t *n_cuts,
                            const int64_t *z_cuts, const int64_t *y_cuts, const int64_t *x_cuts, uint64_t first,
                            const uint64_t *bits, uint64_t *table) {
    Mask mask = size == 1 ? mask_1 : size == 2 ? mask_2 : size == 4 ? mask_4 : mask_8;
    int64_t nx = n_cuts[2] - 1;
    for (int64_t a = 0; a + 1 < n_cuts[0]; a++)
        for (int64_t z = z_cuts[a]; z < z_cuts[a + 1]; z++)
            for (int64_t b = 0; b + 1 < n_cuts[1]; b++) {
                uint64_t *boxes = table + (a * (n_cuts[1] - 1) + b) * nx;
                for (int64_t y = y_cuts[b]; y < y_cuts[b + 1]; y++) {
                    const char *row = source + z * strides[0] + y * strides[1];
                    for (int64_t c = 0; c < nx; c++) boxes[c] |= mask(row, x_cuts[c], x_cuts[c + 1], first, bits);
                }
            }
}
