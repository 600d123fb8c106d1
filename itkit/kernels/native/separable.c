/* Axis-aligned resampling: passes along x, y, z, and nearest neighbour. */
#include "common.h"

/* Samples along one axis: v[lower] + (v[upper] - v[lower]) * weight. */
typedef struct {
    int64_t size;
    const int64_t *lower;
    const int64_t *upper;
    const double *weight;
} Axis;

enum { ROWS_AHEAD = 4 }; /* a prefetch runs this many rows ahead of the read */
enum { TILE_ROWS = 32 }; /* rows of the result computed together for all z, so that two planes of them stay in cache */

#define DEFINE_LOAD(number, name, T)                                                                                   \
    CLONES static void load_##name(const char *RESTRICT source, int64_t stride, double *RESTRICT row, int64_t n) {     \
        if (stride == (int64_t)sizeof(T)) {                                                                            \
            const T *values = (const T *)source;                                                                       \
            for (int64_t i = 0; i < n; i++) row[i] = (double)values[i];                                                \
        } else {                                                                                                       \
            for (int64_t i = 0; i < n; i++) row[i] = (double)*(const T *)(source + i * stride);                        \
        }                                                                                                              \
    }
FOR_TYPES(DEFINE_LOAD)

#define DEFINE_STORE(number, name, T)                                                                                  \
    CLONES static void store_##name(const double *RESTRICT v, char *RESTRICT out, int64_t n) {                         \
        T *values = (T *)out;                                                                                          \
        for (int64_t i = 0; i < n; i++) values[i] = to_##name(v[i]);                                                   \
    }
FOR_TYPES(DEFINE_STORE)

/* The last pass, along z, writes to the result. */
#define DEFINE_FINISH(number, name, T)                                                                                 \
    CLONES static void finish_##name(const double *RESTRICT v0, const double *RESTRICT v1, double w,                   \
                                     char *RESTRICT out, int64_t n) {                                                  \
        T *values = (T *)out;                                                                                          \
        for (int64_t i = 0; i < n; i++) values[i] = to_##name(v0[i] + (v1[i] - v0[i]) * w);                            \
    }
FOR_TYPES(DEFINE_FINISH)

typedef void (*Load)(const char *, int64_t, double *, int64_t);
typedef void (*Store)(const double *, char *, int64_t);
typedef void (*Finish)(const double *, const double *, double, char *, int64_t);
#define LOAD_ENTRY(number, name, T) [number] = load_##name,
#define STORE_ENTRY(number, name, T) [number] = store_##name,
#define FINISH_ENTRY(number, name, T) [number] = finish_##name,
static const Load LOADS[] = {FOR_TYPES(LOAD_ENTRY)};
static const Store STORES[] = {FOR_TYPES(STORE_ENTRY)};
static const Finish FINISHES[] = {FOR_TYPES(FINISH_ENTRY)};

static void pass_x(const double *RESTRICT row, const int32_t *RESTRICT lower, const double *RESTRICT w,
                          double *RESTRICT out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double v0 = row[lower[i]], v1 = row[lower[i] + 1];
        out[i] = MIX_INTEGER(v0, v1, w[i]);
    }
}

static void pass_x_float(const double *RESTRICT row, const int32_t *RESTRICT lower, const double *RESTRICT w,
                         double *RESTRICT out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double v0 = row[lower[i]], v1 = row[lower[i] + 1];
        out[i] = MIX_FLOAT(v0, v1, w[i]);
    }
}

CLONES static void pass_y(const double *RESTRICT v0, const double *RESTRICT v1, double w, double *RESTRICT out,
                          int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = v0[i] + (v1[i] - v0[i]) * w;
}

/* The pass along x for 8- and 16-bit integers computes four results at a time. Their neighbours lie in one window of 16
 * bytes; one byte shuffle moves the lower ones to the top of four 32-bit lanes, another the upper ones. */
typedef struct {
    int64_t blocks;     /* number of blocks of four results; 0 if a block does not fit a window */
    int32_t *base;      /* first voxel of each window, counted from x_first */
    uint8_t *masks;     /* 32 bytes per block: lower neighbours, upper neighbours */
    double *weight;     /* padded to whole blocks */
    int shift, is_signed;
} Windows;

#ifdef HAVE_AVX2_CODE
AVX2 static void pass_x_windows(const Windows *windows, const char *source, int size, int64_t ahead, double *out) {
    const __m128i shift = _mm_cvtsi32_si128(windows->shift);
    for (int64_t b = 0; b < windows->blocks; b++) {
        if (b % 4 == 0) PREFETCH((const char *)((uintptr_t)source + (uintptr_t)(windows->base[b] * size + ahead)));
        __m128i window = _mm_loadu_si128((const __m128i *)(source + (int64_t)windows->base[b] * size));
        __m128i lower = _mm_shuffle_epi8(window, _mm_loadu_si128((const __m128i *)(windows->masks + 32 * b)));
        __m128i upper = _mm_shuffle_epi8(window, _mm_loadu_si128((const __m128i *)(windows->masks + 32 * b + 16)));
        lower = windows->is_signed ? _mm_sra_epi32(lower, shift) : _mm_srl_epi32(lower, shift);
        upper = windows->is_signed ? _mm_sra_epi32(upper, shift) : _mm_srl_epi32(upper, shift);
        __m256d v0 = _mm256_cvtepi32_pd(lower), v1 = _mm256_cvtepi32_pd(upper);
        __m256d w = _mm256_loadu_pd(windows->weight + 4 * b);
        _mm256_storeu_pd(out + 4 * b, _mm256_add_pd(v0, _mm256_mul_pd(_mm256_sub_pd(v1, v0), w)));
    }
}
#endif

/* Plan the windows of a row of `count` voxels that starts at `first`; leave `blocks` at 0 if windows can't be used. */
static void plan_windows(Windows *windows, int type, const Axis *axis, int64_t first, int64_t count) {
#ifdef HAVE_AVX2_CODE
    int size = type < 2 ? 1 : 2;
    int64_t n = axis->size, blocks = (n + 3) / 4, reach = 16 / size;
    if (type > 3 || count < reach || !has_avx2()) return;
    windows->base = malloc((size_t)blocks * sizeof(int32_t));
    windows->masks = malloc((size_t)blocks * 32);
    windows->weight = calloc((size_t)blocks * 4, sizeof(double));
    if (windows->base == NULL || windows->masks == NULL || windows->weight == NULL) return;
    memset(windows->masks, 0x80, (size_t)blocks * 32); /* the shuffle turns these bytes into 0 */
    memcpy(windows->weight, axis->weight, (size_t)n * sizeof(double));
    for (int64_t b = 0; b < blocks; b++) {
        int64_t end = 4 * b + 4 < n ? 4 * b + 4 : n, base = axis->lower[4 * b];
        for (int64_t i = 4 * b; i < end; i++) base = axis->lower[i] < base ? axis->lower[i] : base;
        base = base - first < count - reach ? base - first : count - reach;
        windows->base[b] = (int32_t)base;
        for (int64_t i = 4 * b; i < end; i++) {
            int64_t places[2] = {axis->lower[i] - first - base, axis->upper[i] - first - base};
            for (int k = 0; k < 2; k++) {
                if (places[k] >= reach) return;
                for (int byte = 0; byte < size; byte++)
                    windows->masks[32 * b + 16 * k + 4 * (i - 4 * b) + 4 - size + byte] =
                        (uint8_t)(places[k] * size + byte);
            }
        }
    }
    windows->shift = 32 - 8 * size;
    windows->is_signed = type == 0 || type == 2;
    windows->blocks = blocks;
#else
    (void)windows, (void)type, (void)axis, (void)first, (void)count;
#endif
}

typedef struct {
    const char *source;
    const int64_t *strides;
    const Axis *y, *x;
    int type;
    int64_t x_first, x_count; /* the part of a row that is used */
    int32_t *x_lower;         /* counted from x_first */
    double *row;              /* that part with its last value repeated, so that lower + 1 can always be read */
    double *passed[2];        /* rows after the pass along x */
    int64_t held[2];          /* their y indices */
    Windows windows;
} Rows;

static const double *row_after_x(Rows *rows, int64_t z, int64_t y, int64_t keep) {
    for (int slot = 0; slot < 2; slot++)
        if (rows->held[slot] == y) return rows->passed[slot];
    int slot = rows->held[0] == keep ? 1 : 0;
    const int64_t *strides = rows->strides;
    const char *source = rows->source + z * strides[0] + y * strides[1] + rows->x_first * strides[2];
#ifdef HAVE_AVX2_CODE
    if (rows->windows.blocks) {
        pass_x_windows(&rows->windows, source, rows->type < 2 ? 1 : 2, ROWS_AHEAD * strides[1], rows->passed[slot]);
        rows->held[slot] = y;
        return rows->passed[slot];
    }
#endif
    LOADS[rows->type](source, strides[2], rows->row, rows->x_count);
    rows->row[rows->x_count] = rows->row[rows->x_count - 1];
    (rows->type >= FIRST_FLOAT ? pass_x_float : pass_x)(rows->row, rows->x_lower, rows->x->weight, rows->passed[slot],
                                                         rows->x->size);
    rows->held[slot] = y;
    return rows->passed[slot];
}

/* Compute rows [y_begin, y_end) of plane z after the passes along x and y. */
static void tile_after_y(Rows *rows, int64_t z, int64_t y_begin, int64_t y_end, double *tile) {
    const Axis *y_axis = rows->y;
    int64_t n = rows->x->size;
    rows->held[0] = rows->held[1] = -1;
    for (int64_t y = y_begin; y < y_end; y++, tile += n) {
        int64_t lower = y_axis->lower[y], upper = y_axis->upper[y];
        double w = y_axis->weight[y];
        const double *v0 = row_after_x(rows, z, lower, upper);
        if (w == 0.0)
            memcpy(tile, v0, (size_t)n * sizeof(double));
        else
            pass_y(v0, row_after_x(rows, z, upper, lower), w, tile, n);
    }
}

/* Compute plane z after the passes along x and y directly in the result, if no other plane contributes to it. */
static void plane_after_y(Rows *rows, int64_t z, char *out, int64_t out_stride) {
    const Axis *y_axis = rows->y;
    int64_t n = rows->x->size;
    rows->held[0] = rows->held[1] = -1;
    for (int64_t y = 0; y < y_axis->size; y++, out += out_stride) {
        int64_t lower = y_axis->lower[y], upper = y_axis->upper[y];
        const double *v0 = row_after_x(rows, z, lower, upper);
        if (y_axis->weight[y] == 0.0)
            STORES[rows->type](v0, out, n);
        else
            FINISHES[rows->type](v0, row_after_x(rows, z, upper, lower), y_axis->weight[y], out, n);
    }
}

/* Compute planes [z_begin, z_end) of the result. Strides are in bytes; result rows are contiguous. Returns 0, or 1 if
 * memory runs out. */
EXPORT int itkit_linear(int type, const char *source, const int64_t *strides, char *out, const int64_t *out_strides,
                        const Axis *z_axis, const Axis *y_axis, const Axis *x_axis, int64_t z_begin, int64_t z_end) {
    int64_t n = x_axis->size, first = x_axis->lower[0], last = x_axis->upper[0];
    for (int64_t i = 0; i < n; i++) {
        if (x_axis->lower[i] < first) first = x_axis->lower[i];
        if (x_axis->upper[i] > last) last = x_axis->upper[i];
    }
    Rows rows = {.source = source, .strides = strides, .y = y_axis, .x = x_axis, .type = type};
    rows.x_first = first;
    rows.x_count = last - first + 1;
    size_t tile_size = (size_t)n * TILE_ROWS, padded = ((size_t)n + 3) / 4 * 4;
    double *memory = malloc((2 * tile_size + 2 * padded + (size_t)rows.x_count + 1) * sizeof(double));
    rows.x_lower = malloc((size_t)n * sizeof(int32_t));
    if (memory == NULL || rows.x_lower == NULL) {
        free(memory);
        free(rows.x_lower);
        return 1;
    }
    double *tiles[2] = {memory, memory + tile_size};
    rows.passed[0] = memory + 2 * tile_size;
    rows.passed[1] = rows.passed[0] + padded;
    rows.row = rows.passed[1] + padded;
    for (int64_t i = 0; i < n; i++) rows.x_lower[i] = (int32_t)(x_axis->lower[i] - first);
    if (strides[2] == (type < 2 ? 1 : 2)) plan_windows(&rows.windows, type, x_axis, first, rows.x_count);

    int is_mixed = 0; /* whether a plane of the result lies between two source planes */
    for (int64_t z = z_begin; z < z_end; z++) is_mixed |= z_axis->weight[z] != 0.0;
    for (int64_t z = z_begin; z < z_end && !is_mixed; z++)
        plane_after_y(&rows, z_axis->lower[z], out + z * out_strides[0], out_strides[1]);
    for (int64_t y_begin = 0; y_begin < y_axis->size && is_mixed; y_begin += TILE_ROWS) {
        int64_t y_end = y_begin + TILE_ROWS < y_axis->size ? y_begin + TILE_ROWS : y_axis->size;
        int64_t held[2] = {-1, -1};
        for (int64_t z = z_begin; z < z_end; z++) {
            int64_t wanted[2] = {z_axis->lower[z], z_axis->upper[z]};
            double w = z_axis->weight[z];
            int place[2] = {0, 0};
            for (int k = 0; k < (w == 0.0 ? 1 : 2); k++) {
                if (held[0] == wanted[k] || held[1] == wanted[k]) {
                    place[k] = held[0] == wanted[k] ? 0 : 1;
                    continue;
                }
                place[k] = held[0] == wanted[1 - k] ? 1 : 0;
                tile_after_y(&rows, wanted[k], y_begin, y_end, tiles[place[k]]);
                held[place[k]] = wanted[k];
            }
            for (int64_t y = y_begin; y < y_end; y++) {
                char *target = out + z * out_strides[0] + y * out_strides[1];
                const double *v0 = tiles[place[0]] + (y - y_begin) * n;
                if (w == 0.0)
                    STORES[type](v0, target, n);
                else
                    FINISHES[type](v0, tiles[place[1]] + (y - y_begin) * n, w, target, n);
            }
        }
    }
    free(rows.windows.base);
    free(rows.windows.masks);
    free(rows.windows.weight);
    free(memory);
    free(rows.x_lower);
    return 0;
}

#define DEFINE_PICK(size, T)                                                                                           \
    static void pick_##size(const char *RESTRICT source, int64_t stride, const int64_t *RESTRICT index,                \
                            char *RESTRICT out, int64_t n) {                                                           \
        T *values = (T *)out;                                                                                          \
        if (stride == size) {                                                                                          \
            const T *from = (const T *)source;                                                                         \
            for (int64_t i = 0; i < n; i++) values[i] = from[index[i]];                                                \
        } else {                                                                                                       \
            for (int64_t i = 0; i < n; i++) values[i] = *(const T *)(source + index[i] * stride);                      \
        }                                                                                                              \
    }
FOR_SIZES(DEFINE_PICK)

typedef void (*Pick)(const char *, int64_t, const int64_t *, char *, int64_t);

/* Compute planes [z_begin, z_end) of the result; `size` is the bytes of a voxel. */
EXPORT void itkit_nearest(int size, const char *source, const int64_t *strides, char *out, const int64_t *out_strides,
                          const int64_t *z_index, const int64_t *y_index, const int64_t *x_index, int64_t ny,
                          int64_t nx, int64_t z_begin, int64_t z_end) {
    Pick pick = size == 1 ? pick_1 : size == 2 ? pick_2 : size == 4 ? pick_4 : pick_8;
    int whole = strides[2] == size; /* whether rows are copied unchanged */
    for (int64_t x = 1; whole && x < nx; x++) whole = x_index[x] == x_index[0] + x;
    for (int64_t z = z_begin; z < z_end; z++) {
        int again = z > z_begin && z_index[z] == z_index[z - 1];
        for (int64_t y = 0; y < ny; y++) {
            char *row = out + z * out_strides[0] + y * out_strides[1];
            const char *from = source + z_index[z] * strides[0] + y_index[y] * strides[1];
            if (again)
                memcpy(row, row - out_strides[0], (size_t)(nx * size));
            else if (y > 0 && y_index[y] == y_index[y - 1])
                memcpy(row, row - out_strides[1], (size_t)(nx * size));
            else if (whole)
                memcpy(row, from + x_index[0] * size, (size_t)(nx * size));
            else
                pick(from, strides[2], x_index, row, nx);
        }
    }
}
