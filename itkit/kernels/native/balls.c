/* Dilation by a ball, and counts within it. The ball is a list of rows: (dz, dy) and the half width along x. */
#include "common.h"

enum { NONE = 65535 };

/* Distance along x, in voxels, to the nearest voxel of a mask in its row; NONE where the row has none. */
EXPORT void itkit_row_distances(const uint8_t *mask, int64_t rows, int64_t n, uint16_t *out) {
    for (int64_t row = 0; row < rows; row++, mask += n, out += n) {
        uint16_t last = NONE;
        for (int64_t x = 0; x < n; x++) out[x] = last = mask[x] ? 0 : last < NONE - 1 ? last + 1 : last;
        if (last == NONE) continue;
        last = NONE;
        for (int64_t x = n; x-- > 0;) {
            last = out[x] == 0 ? 0 : last < NONE - 1 ? last + 1 : last;
            if (last < out[x]) out[x] = last;
        }
    }
}

CLONES static void mark(const uint16_t *distances, int64_t n, uint16_t width, uint8_t *out) {
    for (int64_t x = 0; x < n; x++) out[x] |= distances[x] <= width;
}

/* Mark the voxels that have a voxel of the mask within the ball; `out` comes in as zeros. */
EXPORT void itkit_ball_dilate(const uint16_t *distances, int64_t slices, int64_t rows, int64_t n, int64_t count,
                              const int64_t *ball, uint8_t *out) {
    for (int64_t z = 0; z < slices; z++) {
        for (int64_t y = 0; y < rows; y++, out += n) {
            for (const int64_t *part = ball; part < ball + 3 * count; part += 3) {
                int64_t from_z = z + part[0], from_y = y + part[1];
                if (from_z < 0 || from_z >= slices || from_y < 0 || from_y >= rows) continue;
                const uint16_t *row = distances + (from_z * rows + from_y) * n;
                if (row[0] != NONE) mark(row, n, (uint16_t)part[2], out);
            }
        }
    }
}

CLONES static void add(const int32_t *low, const int32_t *high, int64_t n, int32_t *out) {
    for (int64_t x = 0; x < n; x++) out[x] += high[x] - low[x];
}

/* Count the voxels of the mask within the ball around every voxel; `out` comes in as zeros. `sums` has, for each row,
 * the running count of its voxels, with `margin` more entries on both sides. */
EXPORT void itkit_ball_counts(const int32_t *sums, int64_t slices, int64_t rows, int64_t n, int64_t margin,
                              int64_t count, const int64_t *ball, int32_t *out) {
    int64_t length = n + 1 + 2 * margin;
    for (int64_t z = 0; z < slices; z++) {
        for (int64_t y = 0; y < rows; y++, out += n) {
            for (const int64_t *part = ball; part < ball + 3 * count; part += 3) {
                int64_t from_z = z + part[0], from_y = y + part[1];
                if (from_z < 0 || from_z >= slices || from_y < 0 || from_y >= rows) continue;
                const int32_t *row = sums + (from_z * rows + from_y) * length + margin;
                if (row[n] != 0) add(row - part[2], row + part[2] + 1, n, out);
            }
        }
    }
}
