/* Copy voxels from one memory order to another. */
#include "common.h"

enum { TILE_BYTES = 128, TILE_COLUMNS = 64 };

/* out[i][j] = source[i][j], where i is the dense axis of the source (in any direction). Small tiles are read along i
 * and written along j, so that both sides use whole cache lines for any strides. */
#define DEFINE_TRANSPOSE(size, T)                                                                                      \
    static void transpose_##size(const char *source, int64_t i_stride, int64_t j_stride, char *out,                    \
                                 int64_t out_stride, int64_t ni, int64_t nj) {                                         \
        enum { ROWS = TILE_BYTES / size };                                                                             \
        T tile[TILE_COLUMNS][ROWS + 1];                                                                                \
        for (int64_t i0 = 0; i0 < ni; i0 += ROWS) {                                                                    \
            int64_t i_count = ni - i0 < ROWS ? ni - i0 : ROWS;                                                         \
            int64_t low = i_stride > 0 ? i0 : i0 + i_count - 1;                                                        \
            for (int64_t j0 = 0; j0 < nj; j0 += TILE_COLUMNS) {                                                        \
                int64_t j_count = nj - j0 < TILE_COLUMNS ? nj - j0 : TILE_COLUMNS;                                     \
                const char *from = source + low * i_stride + j0 * j_stride;                                            \
                for (int64_t j = 0; j < j_count; j++) memcpy(tile[j], from + j * j_stride, (size_t)(i_count * size));  \
                for (int64_t i = 0; i < i_count; i++) {                                                                \
                    T *RESTRICT to = (T *)(out + (i0 + i) * out_stride) + j0;                                          \
                    int64_t column = i_stride > 0 ? i : i_count - 1 - i;                                               \
                    for (int64_t j = 0; j < j_count; j++) to[j] = tile[j][column];                                     \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    static void row_##size(const char *RESTRICT source, int64_t stride, char *RESTRICT out, int64_t n) {               \
        T *to = (T *)out;                                                                                              \
        if (stride == size) {                                                                                          \
            memcpy(out, source, (size_t)(n * size));                                                                   \
        } else if (stride == -size) {                                                                                  \
            const T *from = (const T *)source - (n - 1);                                                               \
            for (int64_t i = 0; i < n; i++) to[i] = from[n - 1 - i];                                                   \
        } else {                                                                                                       \
            for (int64_t i = 0; i < n; i++) to[i] = *(const T *)(source + i * stride);                                 \
        }                                                                                                              \
    }
FOR_SIZES(DEFINE_TRANSPOSE)

typedef void (*Transpose)(const char *, int64_t, int64_t, char *, int64_t, int64_t, int64_t);
typedef void (*Row)(const char *, int64_t, char *, int64_t);

/* Make a dense copy of a strided view of voxels of `size` bytes (strides in bytes, of any sign). */
EXPORT void itkit_copy(int size, const char *source, const int64_t *strides, char *out, const int64_t *out_strides,
                       const int64_t *shape) {
    Transpose transpose = size == 1 ? transpose_1 : size == 2 ? transpose_2 : size == 4 ? transpose_4 : transpose_8;
    Row row = size == 1 ? row_1 : size == 2 ? row_2 : size == 4 ? row_4 : row_8;
    for (int dense = 0; dense < 2; dense++) {
        if (llabs(strides[dense]) != size || llabs(strides[2]) == size || shape[dense] == 1) continue;
        int other = 1 - dense;
        for (int64_t k = 0; k < shape[other]; k++)
            transpose(source + k * strides[other], strides[dense], strides[2], out + k * out_strides[other],
                      out_strides[dense], shape[dense], shape[2]);
        return;
    }
    for (int64_t z = 0; z < shape[0]; z++)
        for (int64_t y = 0; y < shape[1]; y++)
            row(source + z * strides[0] + y * strides[1], strides[2], out + z * out_strides[0] + y * out_strides[1],
                shape[2]);
}
