/* What a comparison of two label maps needs: the joint histogram of their classes with the box of each class, the
 * surface of a mask as points, and exact distances between two sets of points. */
#include "common.h"

/* ---- joint histogram ---------------------------------------------------------------------------------------------
 * Voxels are handled in runs along x of equal pairs of classes. A box is six numbers: first z y x, last z y x. */

static inline void grow(int64_t *box, int64_t z, int64_t y, int64_t begin, int64_t end) {
    if (z < box[0]) box[0] = z;
    if (y < box[1]) box[1] = y;
    if (begin < box[2]) box[2] = begin;
    if (z > box[3]) box[3] = z;
    if (y > box[4]) box[4] = y;
    if (end - 1 > box[5]) box[5] = end - 1;
}

#define DEFINE_JOINT(size, T)                                                                                          \
    static inline int64_t run_##size(const T *values, int64_t i, int64_t n) {                                          \
        const T value = values[i];                                                                                     \
        uint64_t word, pattern = 0;                                                                                    \
        for (int k = 0; k < 8 / (size); k++) pattern |= (uint64_t)value << (8 * (size) * k);                           \
        for (i++; i + 8 / (size) <= n; i += 8 / (size)) {                                                              \
            memcpy(&word, values + i, 8);                                                                              \
            if (word != pattern) break;                                                                                \
        }                                                                                                              \
        while (i < n && values[i] == value) i++;                                                                       \
        return i;                                                                                                      \
    }                                                                                                                  \
    static void joint_##size(const char *first, const char *second, const int64_t *shape, int64_t n_second,            \
                             int64_t *counts, int64_t *first_boxes, int64_t *second_boxes) {                           \
        const T *a = (const T *)first, *b = (const T *)second;                                                         \
        const int64_t n = shape[2];                                                                                    \
        for (int64_t z = 0; z < shape[0]; z++)                                                                         \
            for (int64_t y = 0; y < shape[1]; y++, a += n, b += n) {                                                   \
                int64_t a_end = 0, b_end = 0;                                                                          \
                for (int64_t x = 0; x < n;) {                                                                          \
                    if (a_end <= x) {                                                                                  \
                        a_end = run_##size(a, x, n);                                                                   \
                        grow(first_boxes + 6 * a[x], z, y, x, a_end);                                                  \
                    }                                                                                                  \
                    if (b_end <= x) {                                                                                  \
                        b_end = run_##size(b, x, n);                                                                   \
                        grow(second_boxes + 6 * b[x], z, y, x, b_end);                                                 \
                    }                                                                                                  \
                    const int64_t end = a_end < b_end ? a_end : b_end;                                                 \
                    counts[a[x] * n_second + b[x]] += end - x;                                                         \
                    x = end;                                                                                           \
                }                                                                                                      \
            }                                                                                                          \
    }
DEFINE_JOINT(1, uint8_t)
DEFINE_JOINT(2, uint16_t)

EXPORT void itkit_joint(int size, const char *first, const char *second, const int64_t *shape, int64_t n_second,
                        int64_t *counts, int64_t *first_boxes, int64_t *second_boxes) {
    (size == 1 ? joint_1 : joint_2)(first, second, shape, n_second, counts, first_boxes, second_boxes);
}

/* ---- surface -----------------------------------------------------------------------------------------------------
 * The mask holds 0 and 1 and has a rim of one voxel of 0 on every side; shape is its shape with the rim. Points are
 * written as indices into the lattice without the rim (borders: voxels), or into that of the corners between voxels
 * (elements: one more along each axis), in ascending order. */

/* 1 where a voxel is in the mask and one of its six face neighbours is not. */
CLONES static void border_row(const uint8_t *mask, int64_t n, int64_t row, int64_t plane, uint8_t *RESTRICT found) {
    for (int64_t x = 0; x < n; x++)
        found[x] = mask[x] & (1 ^ (mask[x - 1] & mask[x + 1] & mask[x - row] & mask[x + row] & mask[x - plane] &
                                   mask[x + plane]));
}

/* The eight voxels around a corner as bits: bit 4 z + 2 y + x. 0 where all of them are alike. */
CLONES static void element_row(const uint8_t *mask, int64_t n, int64_t row, int64_t plane, uint8_t *RESTRICT found) {
    const uint8_t *a = mask, *b = mask + row, *c = mask + plane, *d = mask + plane + row;
    for (int64_t x = 0; x < n; x++) {
        const uint8_t code = (uint8_t)(a[x] | a[x + 1] << 1 | b[x] << 2 | b[x + 1] << 3 | c[x] << 4 | c[x + 1] << 5 |
                                       d[x] << 6 | d[x + 1] << 7);
        found[x] = code == 255 ? 0 : code;
    }
}

/* Write the points of a mask's surface, and for elements their codes; return how many there are. With points NULL they
 * are only counted. buffer holds one row. */
EXPORT int64_t itkit_surface(const uint8_t *mask, const int64_t *shape, int elements, uint8_t *buffer, int64_t *points,
                             uint8_t *codes) {
    const int64_t row = shape[2], plane = shape[1] * shape[2], less = elements ? 1 : 2;
    const int64_t nz = shape[0] - less, ny = shape[1] - less, nx = shape[2] - less;
    int64_t count = 0;
    for (int64_t z = 0; z < nz; z++)
        for (int64_t y = 0; y < ny; y++) {
            const uint8_t *start = mask + z * plane + y * row;
            if (elements)
                element_row(start, nx, row, plane, buffer);
            else
                border_row(start + plane + row + 1, nx, row, plane, buffer);
            int64_t x = 0;
            for (; x < nx; x++) {
                uint64_t word;
                while (x + 8 <= nx && (memcpy(&word, buffer + x, 8), word == 0)) x += 8;
                if (x >= nx) break;
                if (!buffer[x]) continue;
                if (points) {
                    points[count] = (z * ny + y) * nx + x;
                    if (elements) codes[count] = buffer[x];
                }
                count++;
            }
        }
    return count;
}

/* ---- distances ---------------------------------------------------------------------------------------------------
 * For each voxel of the lattice, `steps` holds the number of voxels along z to the nearest target in its column. The
 * squared distance of a point to the nearest target is the least sum of the squared step along z of a column in its
 * own slice and the squared distance to that column. Columns are tried from the nearest on until no farther one can be
 * better; where that takes long, the lower envelope of parabolas finds the best column of each row, and then the best
 * row (P. Felzenszwalb, D. Huttenlocher, "Distance transforms of sampled functions", Theory of Computing 8, 2012).
 * All sums are in double, in this order: z * z + (y * y + x * x). */

enum { NOWHERE = 65535 };

CLONES static void add_step(const uint16_t *RESTRICT from, uint16_t *RESTRICT to, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const uint16_t next = from[i] == NOWHERE ? NOWHERE : (uint16_t)(from[i] + 1);
        to[i] = next < to[i] ? next : to[i];
    }
}

/* Fill `steps` (NOWHERE where a column holds no target). */
static void column_steps(const int64_t *targets, int64_t n_targets, const int64_t *shape, uint16_t *steps) {
    const int64_t plane = shape[1] * shape[2];
    memset(steps, 255, (size_t)(shape[0] * plane) * sizeof *steps);
    for (int64_t i = 0; i < n_targets; i++) steps[targets[i]] = 0;
    for (int64_t z = 1; z < shape[0]; z++) add_step(steps + (z - 1) * plane, steps + z * plane, plane);
    for (int64_t z = shape[0] - 2; z >= 0; z--) add_step(steps + (z + 1) * plane, steps + z * plane, plane);
}

typedef struct {
    double *height, *bound; /* of the parabolas of an envelope */
    int32_t *apex;
} Envelope;

/* Find for each place 0..n-1, a distance `step` apart, the parabola that is lowest there; heights are given by place,
 * infinite where there is none. Return whether there is any. */
static int lowest(Envelope *e, int64_t n, double step, int32_t *RESTRICT best) {
    int64_t last = -1;
    for (int64_t q = 0; q < n; q++) {
        if (e->height[q] == INFINITY) continue;
        double from = -INFINITY;
        while (last >= 0) {
            const int64_t p = e->apex[last];
            /* where the two parabolas meet */
            from = ((e->height[q] - e->height[p]) / (step * step) + (double)(q * q - p * p)) / (double)(2 * (q - p));
            if (from > e->bound[last]) break;
            last--;
            from = -INFINITY;
        }
        last++;
        e->apex[last] = (int32_t)q;
        e->bound[last] = from;
    }
    if (last < 0) return 0;
    for (int64_t q = n - 1; q >= 0; q--) {
        while (last > 0 && e->bound[last] > (double)q) last--;
        best[q] = e->apex[last];
    }
    return 1;
}

typedef struct {
    const int64_t *shape;
    const double *spacing, *z_squares; /* squared distances along z, by number of steps; infinite for NOWHERE */
    uint16_t *steps;
    Envelope envelope;
    int32_t *best, *rows;
} Field;

static inline double square_of(const Field *f, const uint16_t *slice, int64_t y, int64_t x, int64_t to_y, int64_t to_x) {
    const double dy = (double)(to_y - y) * f->spacing[1], dx = (double)(to_x - x) * f->spacing[2];
    return f->z_squares[slice[to_y * f->shape[2] + to_x]] + (dy * dy + dx * dx);
}

/* Find, for each voxel of a slice, the row of the best column among those of its own x. */
static void best_rows(Field *f, const uint16_t *slice) {
    const int64_t ny = f->shape[1], nx = f->shape[2];
    for (int64_t x = 0; x < nx; x++) {
        for (int64_t y = 0; y < ny; y++) f->envelope.height[y] = f->z_squares[slice[y * nx + x]];
        const int any = lowest(&f->envelope, ny, f->spacing[1], f->best);
        for (int64_t y = 0; y < ny; y++) f->rows[y * nx + x] = any ? f->best[y] : -1;
    }
}

/* Find the best column for each x of the row y; best_rows comes first. */
static void best_columns(Field *f, const uint16_t *slice, int64_t y) {
    const int64_t nx = f->shape[2];
    for (int64_t x = 0; x < nx; x++) {
        const int32_t to_y = f->rows[y * nx + x];
        f->envelope.height[x] = to_y < 0 ? INFINITY : square_of(f, slice, y, x, to_y, x);
    }
    lowest(&f->envelope, nx, f->spacing[2], f->best);
}

/* Write the squared distance of each point to the nearest target. Points and targets are ascending indices of a lattice
 * with fewer than 65535 slices. offsets: pairs (y, x) of columns around a point, by ascending squared distance, which
 * stands in plane_squares. Return 0 if memory is short. */
EXPORT int itkit_distances(const int64_t *points, int64_t n_points, const int64_t *targets, int64_t n_targets,
                         const int64_t *shape, const double *spacing, const int64_t *offsets,
                         const double *plane_squares, int64_t n_offsets, double *squares) {
    const int64_t nz = shape[0], ny = shape[1], nx = shape[2], plane = ny * nx, longest = ny > nx ? ny : nx;
    Field f = {shape, spacing, NULL, NULL, {NULL, NULL, NULL}, NULL, NULL};
    double *z_squares = malloc((NOWHERE + 1) * sizeof *z_squares);
    f.steps = malloc((size_t)(nz * plane) * sizeof *f.steps);
    f.envelope.height = malloc((size_t)longest * sizeof(double));
    f.envelope.bound = malloc((size_t)longest * sizeof(double));
    f.envelope.apex = malloc((size_t)longest * sizeof(int32_t));
    f.best = malloc((size_t)longest * sizeof(int32_t));
    f.rows = malloc((size_t)plane * sizeof(int32_t));
    const int is_ready = z_squares && f.steps && f.envelope.height && f.envelope.bound && f.envelope.apex && f.best &&
                         f.rows;
    if (is_ready) {
        for (int64_t k = 0; k < NOWHERE; k++) {
            const double dz = (double)k * spacing[0];
            z_squares[k] = dz * dz;
        }
        z_squares[NOWHERE] = INFINITY;
        f.z_squares = z_squares;
        column_steps(targets, n_targets, shape, f.steps);
        for (int64_t i = 0; i < n_points;) {
            const int64_t z = points[i] / plane;
            const uint16_t *slice = f.steps + z * plane;
            int64_t budget = 4 * plane, row = -1;
            int is_swept = 0;
            for (; i < n_points && points[i] < (z + 1) * plane; i++) {
                const int64_t y = points[i] % plane / nx, x = points[i] % nx;
                double best = INFINITY;
                if (!is_swept) {
                    int64_t k = 0;
                    for (; k < n_offsets && plane_squares[k] < best; k++) {
                        const int64_t to_y = y + offsets[2 * k], to_x = x + offsets[2 * k + 1];
                        if (to_y < 0 || to_y >= ny || to_x < 0 || to_x >= nx) continue;
                        const double square = z_squares[slice[to_y * nx + to_x]] + plane_squares[k];
                        best = square < best ? square : best;
                    }
                    squares[i] = best;
                    if (k < n_offsets && (budget -= k) > 0) continue;
                    best_rows(&f, slice);
                    is_swept = 1;
                    if (k < n_offsets) continue;
                }
                if (row != y) best_columns(&f, slice, y);
                row = y;
                squares[i] = square_of(&f, slice, y, x, f.rows[y * nx + f.best[x]], f.best[x]);
            }
        }
    }
    free(z_squares);
    free(f.steps);
    free(f.envelope.height);
    free(f.envelope.bound);
    free(f.envelope.apex);
    free(f.best);
    free(f.rows);
    return is_ready;
}
