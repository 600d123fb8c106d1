/* Resampling under an affine map of indices: image by linear interpolation, label by nearest neighbour, or both. */
#include "common.h"

enum {
    CHUNK = 64, /* voxels of a row that pass through the stages together */
    AHEAD = 4,  /* a prefetch runs this many rows ahead of the read */
    BAND = 32,  /* rows whose chunks are computed one after the other, so that their neighbours stay in cache */
};

/* A volume to sample: contiguous along x; strides along z and y in voxels. */
typedef struct {
    int64_t type; /* number of the voxel type; -1 if there is no such volume */
    int64_t size; /* bytes per voxel */
    const char *source;
    char *out;
    const char *fill;
    int64_t z_stride, y_stride;
} Task;

/* Source indices of the result's rows: index(x) = start + part[x] * span, as ZYX triples. */
typedef struct {
    int64_t nz, ny, nx;
    const double *start, *span, *part;
    int64_t shape[3]; /* of the source */
} Lines;

/* Source positions of the samples of a chunk. */
typedef struct {
    double base[CHUNK];    /* offset of the lower neighbour, in voxels */
    double weight[3][CHUNK];
    double nearest[CHUNK]; /* offset of the nearest voxel of the label */
    int64_t ahead[2];      /* voxels from a sample to that of a later row: image, label */
} Places;

/* Source index along one axis; monotone in x, because each of its operations is monotone. */
static inline double at(const Lines *lines, const double *start, const double *span, int axis, int64_t x) {
    return start[axis] + lines->part[x] * span[axis];
}

/* Find the part [*begin, *end) of a row where low <= index < high on each axis; exact, because found by bisection. */
static void stretch(const Lines *lines, const double *start, const double *span, const double *low, const double *high,
                    int64_t *begin, int64_t *end) {
    *begin = 0;
    *end = lines->nx;
    for (int axis = 0; axis < 3; axis++) {
        int falls = span[axis] < 0.0;
        int64_t bounds[2];
        for (int k = 0; k < 2; k++) { /* first x past the nearer limit, first x past the farther one */
            int64_t a = *begin, b = *end;
            while (a < b) {
                int64_t middle = a + (b - a) / 2;
                double c = at(lines, start, span, axis, middle);
                int before = falls ? (k == 0 ? c >= high[axis] : c >= low[axis]) : (k == 0 ? c < low[axis] : c < high[axis]);
                if (before)
                    a = middle + 1;
                else
                    b = middle;
            }
            bounds[k] = a;
        }
        *begin = bounds[0];
        *end = bounds[1] > bounds[0] ? bounds[1] : bounds[0];
    }
}

/* Stage 1, for samples with all eight neighbours: indices are not negative, so truncation equals floor. */
CLONES static void find_places(const Lines *lines, const double *start, const double *span, const Task *image,
                               int64_t x, int n, Places *places) {
    double sz = (double)image->z_stride, sy = (double)image->y_stride;
    const double *RESTRICT part = lines->part + x;
    for (int i = 0; i < n; i++) {
        double z = start[0] + part[i] * span[0], y = start[1] + part[i] * span[1], x_ = start[2] + part[i] * span[2];
        double fz = (double)(int32_t)z, fy = (double)(int32_t)y, fx = (double)(int32_t)x_;
        places->weight[0][i] = z - fz;
        places->weight[1][i] = y - fy;
        places->weight[2][i] = x_ - fx;
        places->base[i] = fz * sz + fy * sy + fx;
    }
}

CLONES static void find_nearest(const Lines *lines, const double *start, const double *span, const Task *label,
                                int64_t x, int n, Places *places) {
    double sz = (double)label->z_stride, sy = (double)label->y_stride;
    const double *RESTRICT part = lines->part + x;
    for (int i = 0; i < n; i++) {
        double z = (start[0] + part[i] * span[0]) + 0.5, y = (start[1] + part[i] * span[1]) + 0.5;
        double x_ = (start[2] + part[i] * span[2]) + 0.5;
        places->nearest[i] = (double)(int32_t)z * sz + (double)(int32_t)y * sy + (double)(int32_t)x_;
    }
}

/* Stage 2 gathers the pairs along x from the four rows around each sample; stage 3 interpolates them. */
#define DEFINE_IMAGE(number, name, T, MIX)                                                                             \
    static void gather_##name(const Task *image, const Places *places, int n, T pairs[4][2 * CHUNK]) {                 \
        const T *source = (const T *)image->source;                                                                    \
        int64_t sy = image->y_stride, sz = image->z_stride, ahead = places->ahead[0];                                  \
        for (int i = 0; i < n; i++) {                                                                                  \
            const T *p = source + (int64_t)places->base[i];                                                            \
            if (i % 4 == 0) {                                                                                          \
                PREFETCH(p + ahead);                                                                                   \
                PREFETCH(p + ahead + sz);                                                                              \
            }                                                                                                          \
            memcpy(&pairs[0][2 * i], p, 2 * sizeof(T));                                                                \
            memcpy(&pairs[1][2 * i], p + sy, 2 * sizeof(T));                                                           \
            memcpy(&pairs[2][2 * i], p + sz, 2 * sizeof(T));                                                           \
            memcpy(&pairs[3][2 * i], p + sz + sy, 2 * sizeof(T));                                                      \
        }                                                                                                              \
    }                                                                                                                  \
    CLONES static void mix_##name(const Places *RESTRICT places, int n, T (*RESTRICT pairs)[2 * CHUNK],                 \
                                  T *RESTRICT out) {                                                                   \
        for (int i = 0; i < n; i++) {                                                                                  \
            double wz = places->weight[0][i], wy = places->weight[1][i], wx = places->weight[2][i], row[4];            \
            for (int k = 0; k < 4; k++) {                                                                              \
                double v0 = (double)pairs[k][2 * i], v1 = (double)pairs[k][2 * i + 1];                                 \
                row[k] = MIX(v0, v1, wx);                                                                              \
            }                                                                                                          \
            double below = MIX(row[0], row[1], wy), above = MIX(row[2], row[3], wy);                                   \
            out[i] = to_##name(MIX(below, above, wz));                                                                 \
        }                                                                                                              \
    }                                                                                                                  \
    static void image_##name(const Task *image, const Places *places, int n, int64_t target) {                         \
        T pairs[4][2 * CHUNK];                                                                                         \
        gather_##name(image, places, n, pairs);                                                                        \
        mix_##name(places, n, pairs, (T *)image->out + target);                                                        \
    }                                                                                                                  \
    /* One sample near the volume's faces: the edge voxels stand in for neighbours outside. */                         \
    static void edge_##name(const Task *image, const int64_t lower[3], const int64_t step[3], const double w[3],       \
                            int64_t target) {                                                                          \
        const T *p = (const T *)image->source + lower[0] * image->z_stride + lower[1] * image->y_stride + lower[2];    \
        double plane[2];                                                                                               \
        for (int k = 0; k < 2; k++) {                                                                                  \
            const T *q = p + k * step[0] * image->z_stride, *r = q + step[1] * image->y_stride;                        \
            double v0 = MIX((double)q[0], (double)q[step[2]], w[2]), v1 = MIX((double)r[0], (double)r[step[2]], w[2]); \
            plane[k] = MIX(v0, v1, w[1]);                                                                              \
        }                                                                                                              \
        ((T *)image->out)[target] = to_##name(MIX(plane[0], plane[1], w[0]));                                          \
    }
#define DEFINE_INTEGER_IMAGE(number, name, T) DEFINE_IMAGE(number, name, T, MIX_INTEGER)
#define DEFINE_FLOAT_IMAGE(number, name, T) DEFINE_IMAGE(number, name, T, MIX_FLOAT)
FOR_NARROW_INTEGERS(DEFINE_INTEGER_IMAGE)
DEFINE_INTEGER_IMAGE(5, u32, uint32_t)
FOR_WIDE_INTEGERS(DEFINE_INTEGER_IMAGE)
FOR_FLOATS(DEFINE_FLOAT_IMAGE)

#define DEFINE_LABEL(bytes, T)                                                                                         \
    static void label_##bytes(const Task *label, const Places *places, int n, int64_t target) {                        \
        const T *source = (const T *)label->source;                                                                    \
        T *RESTRICT out = (T *)label->out + target;                                                                    \
        int64_t ahead = places->ahead[1];                                                                              \
        for (int i = 0; i < n; i++) {                                                                                  \
            const T *p = source + (int64_t)places->nearest[i];                                                         \
            if (i % 4 == 0) PREFETCH(p + ahead);                                                                       \
            out[i] = *p;                                                                                               \
        }                                                                                                              \
    }                                                                                                                  \
    static void fill_##bytes(const Task *task, int64_t begin, int64_t end) {                                           \
        T value;                                                                                                       \
        memcpy(&value, task->fill, sizeof(T));                                                                         \
        for (int64_t i = begin; i < end; i++) ((T *)task->out)[i] = value;                                             \
    }
FOR_SIZES(DEFINE_LABEL)

typedef void (*Image)(const Task *, const Places *, int, int64_t);
typedef void (*Edge)(const Task *, const int64_t *, const int64_t *, const double *, int64_t);
#define IMAGE_ENTRY(number, name, T) [number] = image_##name,
#define EDGE_ENTRY(number, name, T) [number] = edge_##name,
static const Image IMAGES[] = {FOR_TYPES(IMAGE_ENTRY)};
static const Edge EDGES[] = {FOR_TYPES(EDGE_ENTRY)};
#define BY_SIZE(name, size) ((size) == 1 ? name##_1 : (size) == 2 ? name##_2 : (size) == 4 ? name##_4 : name##_8)

static void fill_both(const Task *image, const Task *label, int64_t begin, int64_t end) {
    if (image->type >= 0) BY_SIZE(fill, image->size)(image, begin, end);
    if (label->type >= 0) BY_SIZE(fill, label->size)(label, begin, end);
}

/* One sample near the volume's faces: the edge voxels stand in for neighbours outside. */
static void near_face(const Lines *lines, const double place[3], const Task *image, const Task *label, int64_t target) {
    int64_t lower[3], step[3], nearest[3];
    double w[3];
    for (int axis = 0; axis < 3; axis++) {
        double c = place[axis], last = (double)(lines->shape[axis] - 1);
        double near = floor(c + 0.5);
        nearest[axis] = (int64_t)(near < 0.0 ? 0.0 : near > last ? last : near);
        c = c < 0.0 ? 0.0 : c > last ? last : c;
        lower[axis] = (int64_t)c;
        w[axis] = c - (double)lower[axis];
        step[axis] = lower[axis] + 1 < lines->shape[axis] ? 1 : 0;
    }
    if (image->type >= 0) EDGES[image->type](image, lower, step, w, target);
    if (label->type >= 0) {
        Places places = {.ahead = {0, 0}};
        places.nearest[0] = (double)(nearest[0] * label->z_stride + nearest[1] * label->y_stride + nearest[2]);
        BY_SIZE(label, label->size)(label, &places, 1, target);
    }
}

static void near_faces(const Lines *lines, const double *start, const double *span, const Task *image,
                       const Task *label, int64_t row, int64_t begin, int64_t end) {
    for (int64_t x = begin; x < end; x++) {
        double place[3];
        for (int axis = 0; axis < 3; axis++) place[axis] = at(lines, start, span, axis, x);
        near_face(lines, place, image, label, row + x);
    }
}

static void within(const Lines *lines, int64_t line, const Task *image, const Task *label, int64_t begin, int64_t end) {
    Places places;
    const double *start = lines->start + 3 * line, *span = lines->span + 3 * line;
    int64_t row = line * lines->nx, shift[3] = {0, 0, 0};
    if (line + AHEAD < lines->nz * lines->ny)
        for (int axis = 0; axis < 3; axis++) {
            double d = start[axis + 3 * AHEAD] - start[axis];
            if (fabs(d) < (double)lines->shape[axis]) shift[axis] = (int64_t)d;
        }
    places.ahead[0] = shift[0] * image->z_stride + shift[1] * image->y_stride + shift[2];
    places.ahead[1] = shift[0] * label->z_stride + shift[1] * label->y_stride + shift[2];
    int n = (int)(end - begin);
    if (image->type >= 0) {
        find_places(lines, start, span, image, begin, n, &places);
        IMAGES[image->type](image, &places, n, row + begin);
    }
    if (label->type >= 0) {
        find_nearest(lines, start, span, label, begin, n, &places);
        BY_SIZE(label, label->size)(label, &places, n, row + begin);
    }
}

/* Compute planes [z_begin, z_end) of the results. */
EXPORT void itkit_affine(const Lines *lines, const Task *image, const Task *label, int64_t z_begin, int64_t z_end) {
    double inner_low[3], inner_high[3], outer_low[3], outer_high[3];
    for (int axis = 0; axis < 3; axis++) {
        inner_low[axis] = 0.0;
        inner_high[axis] = (double)(lines->shape[axis] - 1);
        outer_low[axis] = -0.5;
        outer_high[axis] = (double)lines->shape[axis] - 0.5;
    }
    for (int64_t first = z_begin * lines->ny; first < z_end * lines->ny; first += BAND) {
        int64_t last = first + BAND < z_end * lines->ny ? first + BAND : z_end * lines->ny;
        int64_t in_begin[BAND], in_end[BAND], far_begin = lines->nx, far_end = 0;
        for (int64_t line = first; line < last; line++) {
            const double *start = lines->start + 3 * line, *span = lines->span + 3 * line;
            int64_t row = line * lines->nx, begin, end, k = line - first;
            stretch(lines, start, span, outer_low, outer_high, &begin, &end);
            stretch(lines, start, span, inner_low, inner_high, &in_begin[k], &in_end[k]);
            if (in_begin[k] == in_end[k]) in_begin[k] = in_end[k] = begin;
            fill_both(image, label, row, row + begin);
            near_faces(lines, start, span, image, label, row, begin, in_begin[k]);
            near_faces(lines, start, span, image, label, row, in_end[k], end);
            fill_both(image, label, row + end, row + lines->nx);
            if (in_begin[k] == in_end[k]) continue;
            far_begin = in_begin[k] < far_begin ? in_begin[k] : far_begin;
            far_end = in_end[k] > far_end ? in_end[k] : far_end;
        }
        for (int64_t x = far_begin / CHUNK * CHUNK; x < far_end; x += CHUNK)
            for (int64_t line = first; line < last; line++) {
                int64_t begin = in_begin[line - first] > x ? in_begin[line - first] : x;
                int64_t end = in_end[line - first] < x + CHUNK ? in_end[line - first] : x + CHUNK;
                if (begin < end)
                    within(lines, line, image, label, begin, end);
            }
    }
}

/* Displacements of the source indices: for each node of a coarse grid (z, y), three rows (Z, Y, X) over all x. */
typedef struct {
    int64_t ky;
    const double *rows;             /* (kz, ky, 3, nx) */
    const int64_t *z_node, *y_node; /* the lower node of each plane, of each row */
    const double *z_part, *y_part;  /* how far it is on the way to the next node, 0 to 1 */
} Bend;

/* Source positions of some samples of a row: the affine map's, plus the displacement between four nodes. */
CLONES static void bent(const Lines *lines, const Bend *bend, int64_t line, int64_t x, int n, double (*RESTRICT place)[CHUNK]) {
    int64_t z = line / lines->ny, y = line % lines->ny, along_y = 3 * lines->nx, along_z = bend->ky * along_y;
    double wz = bend->z_part[z], wy = bend->y_part[y];
    const double *RESTRICT part = lines->part + x;
    for (int axis = 0; axis < 3; axis++) {
        const double *RESTRICT a = bend->rows + bend->z_node[z] * along_z + bend->y_node[y] * along_y + axis * lines->nx + x;
        double start = lines->start[3 * line + axis], span = lines->span[3 * line + axis];
        for (int i = 0; i < n; i++) {
            double below = a[i] + (a[i + along_y] - a[i]) * wy;
            double above = a[i + along_z] + (a[i + along_z + along_y] - a[i + along_z]) * wy;
            place[axis][i] = (start + part[i] * span) + (below + (above - below) * wz);
        }
    }
}

/* Stage 1 of `within` for positions that are no line; all have all eight neighbours. */
CLONES static void find_bent(double (*RESTRICT place)[CHUNK], const Task *image, const Task *label, int n, Places *RESTRICT places) {
    double sz = (double)image->z_stride, sy = (double)image->y_stride;
    double lz = (double)label->z_stride, ly = (double)label->y_stride;
    for (int i = 0; i < n; i++) {
        double z = place[0][i], y = place[1][i], x = place[2][i];
        double fz = (double)(int32_t)z, fy = (double)(int32_t)y, fx = (double)(int32_t)x;
        places->weight[0][i] = z - fz;
        places->weight[1][i] = y - fy;
        places->weight[2][i] = x - fx;
        places->base[i] = fz * sz + fy * sy + fx;
        places->nearest[i] = (double)(int32_t)(z + 0.5) * lz + (double)(int32_t)(y + 0.5) * ly + (double)(int32_t)(x + 0.5);
    }
}

CLONES static int all_between(double (*RESTRICT place)[CHUNK], const int64_t *shape, int n) {
    int outside = 0;
    for (int axis = 0; axis < 3; axis++) {
        double high = (double)(shape[axis] - 1);
        for (int i = 0; i < n; i++) outside |= (place[axis][i] < 0.0) | (place[axis][i] >= high);
    }
    return !outside;
}

/* Compute planes [z_begin, z_end) of the results under an affine map and a bend of it. */
EXPORT void itkit_warp(const Lines *lines, const Bend *bend, const Task *image, const Task *label, int64_t z_begin,
                       int64_t z_end) {
    double place[3][CHUNK];
    Places places = {.ahead = {0, 0}};
    for (int64_t line = z_begin * lines->ny; line < z_end * lines->ny; line++)
        for (int64_t x = 0; x < lines->nx; x += CHUNK) {
            int n = (int)(lines->nx - x < CHUNK ? lines->nx - x : CHUNK);
            int64_t target = line * lines->nx + x;
            bent(lines, bend, line, x, n, place);
            if (all_between(place, lines->shape, n)) {
                find_bent(place, image, label, n, &places);
                if (image->type >= 0) IMAGES[image->type](image, &places, n, target);
                if (label->type >= 0) BY_SIZE(label, label->size)(label, &places, n, target);
                continue;
            }
            for (int i = 0; i < n; i++) {
                double one[3];
                int outside = 0;
                for (int axis = 0; axis < 3; axis++) {
                    one[axis] = place[axis][i];
                    outside |= one[axis] < -0.5 || one[axis] >= (double)lines->shape[axis] - 0.5;
                }
                if (outside)
                    fill_both(image, label, target + i, target + i + 1);
                else
                    near_face(lines, one, image, label, target + i);
            }
        }
}
