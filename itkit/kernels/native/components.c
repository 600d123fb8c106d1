/* Connected components of label maps. Every row of voxels is cut into runs of one class; runs that touch are joined in a
 * union-find forest whose roots are the first runs of their components, so that numbering follows the order of voxels.
 * The caller owns all memory; if there was no room for all runs, it has them listed again. */
#include "common.h"

#define BLOCK(size) (64 / (size))

/* The first place from x on where a row no longer holds a value. */
#define DEFINE_END(size, T)                                                                                            \
    static inline int64_t end_##size(const T *row, int64_t x, int64_t n, T value) {                                    \
        for (; x + BLOCK(size) <= n; x += BLOCK(size)) {                                                               \
            T differs = 0;                                                                                             \
            for (int k = 0; k < BLOCK(size); k++) differs |= (T)(row[x + k] ^ value);                                  \
            if (differs) break;                                                                                        \
        }                                                                                                              \
        while (x < n && row[x] == value) x++;                                                                          \
        return x;                                                                                                      \
    }
FOR_SIZES(DEFINE_END)

/* List the runs of all rows, and count those for which there is no room. `offsets` gets the number of runs before each
 * row. */
#define DEFINE_RUNS(size, T)                                                                                           \
    CLONES static void runs_##size(const char *source, int64_t rows, int64_t n, int background, int64_t room,          \
                                   int64_t *offsets, int32_t *starts, int32_t *ends) {                                 \
        int64_t count = 0;                                                                                             \
        for (int64_t i = 0; i < rows; i++) {                                                                           \
            const T *row = (const T *)source + i * n;                                                                  \
            offsets[i] = count;                                                                                        \
            for (int64_t x = 0, end; x < n; x = end) {                                                                 \
                T value = row[x];                                                                                      \
                end = end_##size(row, x, n, value);                                                                    \
                if ((value == 0) != background) continue;                                                              \
                if (count < room) starts[count] = (int32_t)x, ends[count] = (int32_t)end;                              \
                count++;                                                                                               \
            }                                                                                                          \
        }                                                                                                              \
        offsets[rows] = count;                                                                                         \
    }
FOR_SIZES(DEFINE_RUNS)

EXPORT void itkit_runs(int size, const char *source, int64_t rows, int64_t n, int background, int64_t room,
                       int64_t *offsets, int32_t *starts, int32_t *ends) {
    (size == 1 ? runs_1 : size == 2 ? runs_2 : size == 4 ? runs_4 : runs_8)(source, rows, n, background, room, offsets,
                                                                            starts, ends);
}

typedef struct {
    const char *source;
    int64_t n;
    const int64_t *offsets;
    const int32_t *starts, *ends;
    int32_t *parents;
    int reach; /* how far, along x, two runs of neighbouring rows may be apart: 1 if corners touch */
} Runs;

static int32_t root(int32_t *parents, int32_t run) {
    while (parents[run] != run) run = parents[run] = parents[parents[run]];
    return run;
}

static void join(int32_t *parents, int32_t a, int32_t b) {
    a = root(parents, a), b = root(parents, b);
    if (a < b) parents[b] = a;
    else parents[a] = b;
}

#define DEFINE_JOIN(size, T)                                                                                           \
    static inline void meet_##size(const Runs *runs, const T *row, const T *other, int64_t i, int64_t j) {             \
        const int32_t *starts = runs->starts, *ends = runs->ends;                                                      \
        if (starts[i] < ends[j] + runs->reach && starts[j] < ends[i] + runs->reach && row[starts[i]] == other[starts[j]]) \
            join(runs->parents, (int32_t)i, (int32_t)j);                                                               \
    }                                                                                                                  \
    static void join_rows_##size(const Runs *runs, int64_t a, int64_t b) {                                             \
        const T *row = (const T *)runs->source + a * runs->n, *other = (const T *)runs->source + b * runs->n;          \
        int64_t i = runs->offsets[a], i_end = runs->offsets[a + 1], j = runs->offsets[b], j_end = runs->offsets[b + 1]; \
        while (i < i_end && j < j_end) {                                                                               \
            meet_##size(runs, row, other, i, j);                                                                       \
            int32_t behind = runs->ends[i] - runs->ends[j];                                                            \
            if (behind == 0 && j + 1 < j_end) meet_##size(runs, row, other, i, j + 1); /* corner to corner */          \
            if (behind <= 0) i++;                                                                                      \
            else j++;                                                                                                  \
        }                                                                                                              \
    }
FOR_SIZES(DEFINE_JOIN)

/* Join the runs that touch. Neighbours: 4 or 8 in the plane of a slice, 6, 18 or 26 in space. Afterwards `numbers` holds
 * the component of each run, from 1 on; the number of components is returned. */
EXPORT int64_t itkit_join_runs(int size, const char *source, int64_t slices, int64_t rows, int64_t n, int neighbours,
                               const int64_t *offsets, const int32_t *starts, const int32_t *ends, int32_t *numbers) {
    void (*join_rows)(const Runs *, int64_t, int64_t) = size == 1   ? join_rows_1
                                                        : size == 2 ? join_rows_2
                                                        : size == 4 ? join_rows_4
                                                                    : join_rows_8;
    int64_t total = offsets[slices * rows], count = 0;
    int in_space = neighbours == 6 || neighbours == 18 || neighbours == 26;
    int corners = neighbours == 26, edges = neighbours == 18 || corners, flat_edges = neighbours == 8 || edges;
    Runs flat = {source, n, offsets, starts, ends, numbers, flat_edges};
    Runs above = {source, n, offsets, starts, ends, numbers, edges};
    Runs aslant = {source, n, offsets, starts, ends, numbers, corners};
    for (int64_t run = 0; run < total; run++) numbers[run] = (int32_t)run;
    for (int64_t z = 0; z < slices; z++) {
        for (int64_t y = 0; y < rows; y++) {
            int64_t row = z * rows + y;
            if (offsets[row] == offsets[row + 1]) continue;
            if (y > 0) join_rows(&flat, row, row - 1);
            if (z == 0 || !in_space) continue;
            join_rows(&above, row, row - rows);
            if (edges && y > 0) join_rows(&aslant, row, row - rows - 1);
            if (edges && y + 1 < rows) join_rows(&aslant, row, row - rows + 1);
        }
    }
    for (int64_t run = 0; run < total; run++) /* a parent comes before its child and has its number already */
        numbers[run] = numbers[run] == run ? (int32_t)++count : numbers[numbers[run]];
    return count;
}

/* For each component: its voxels, its box (first z y x, then the end of z y x), and the index of its first voxel. */
EXPORT void itkit_measure_runs(int64_t slices, int64_t rows, int64_t n, const int64_t *offsets, const int32_t *starts,
                               const int32_t *ends, const int32_t *numbers, int64_t *voxels, int64_t *boxes,
                               int64_t *firsts) {
    for (int64_t row = 0; row < slices * rows; row++) {
        int64_t z = row / rows, y = row % rows;
        for (int64_t run = offsets[row]; run < offsets[row + 1]; run++) {
            int64_t place = numbers[run] - 1, *box = boxes + 6 * place;
            if (voxels[place] == 0) {
                box[0] = z, box[1] = y, box[2] = starts[run];
                firsts[place] = row * n + starts[run];
            }
            voxels[place] += ends[run] - starts[run];
            if (y < box[1]) box[1] = y;
            if (starts[run] < box[2]) box[2] = starts[run];
            box[3] = z + 1;
            if (y >= box[4]) box[4] = y + 1;
            if (ends[run] > box[5]) box[5] = ends[run];
        }
    }
}

/* Write a value for each component into its voxels; components whose value is 0 are left alone. */
#define DEFINE_PAINT(size, T)                                                                                          \
    static void paint_##size(int64_t rows, int64_t n, const int64_t *offsets, const int32_t *starts,                   \
                             const int32_t *ends, const int32_t *numbers, const char *values, char *out) {             \
        const T *table = (const T *)values;                                                                            \
        for (int64_t row = 0; row < rows; row++) {                                                                     \
            T *to = (T *)out + row * n;                                                                                \
            for (int64_t run = offsets[row]; run < offsets[row + 1]; run++) {                                          \
                T value = table[numbers[run] - 1];                                                                     \
                if (value == 0) continue;                                                                              \
                for (int32_t x = starts[run]; x < ends[run]; x++) to[x] = value;                                       \
            }                                                                                                          \
        }                                                                                                              \
    }
FOR_SIZES(DEFINE_PAINT)

EXPORT void itkit_paint_runs(int size, int64_t rows, int64_t n, const int64_t *offsets, const int32_t *starts,
                             const int32_t *ends, const int32_t *numbers, const char *values, char *out) {
    (size == 1 ? paint_1 : size == 2 ? paint_2 : size == 4 ? paint_4 : paint_8)(rows, n, offsets, starts, ends,
                                                                                numbers, values, out);
}
