/* A step of the linear heads (batched_heads.py), run by run: losses, gradients, clipping, Adam.
 *
 * One run's weights and moments (1.5 MB at 256 x 512) stay in the cache of a core from the first
 * product to the last update; over all runs at once each operation moves all of them through memory.
 * Written in vectors of 16 floats, which GCC and Clang make the widest registers of: D is a multiple
 * of 16. Blocks of 4 and 12 classes stay in registers; inside, the classes are filled up to a
 * multiple of 4 with some that have no probability.
 *
 * Shapes as in batched_heads.py: R runs, B batch, L layers, D width, P projector, C classes, N
 * utterances. `now`, `mean` and `square` point to parameters, first and second moments of: weights
 * [R, L], projector [R, P, D] and bias [R, P], classifier [R, C, P] and bias [R, C].
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define W 16
#define ROWS 16 /* of a matrix that are read together */
typedef float Vector __attribute__((vector_size(4 * W), aligned(4), may_alias));
#define AT(place) (*(Vector *)(place))

struct adam { float rate, shrink, mean_share, square_decay, square_share, unbias, epsilon, l2, scale; };

static inline float total(Vector x) {
    float sum = 0;
    for (int i = 0; i < W; i++) sum += x[i];
    return sum;
}

static void adam(struct adam a, int n, float *restrict w, float *restrict mean, float *restrict square,
                 const float *restrict gradient) {
    for (int i = 0; i < n; i++) {
        float g = a.scale * gradient[i] + a.l2 * w[i];
        mean[i] += a.mean_share * (g - mean[i]);
        square[i] = a.square_decay * square[i] + a.square_share * g * g;
        w[i] = a.shrink * w[i] - a.rate * mean[i] / (sqrtf(square[i]) * a.unbias + a.epsilon);
    }
}

/* out[c] += sum over k of factors[k, c] * w[k], for M classes in registers */
#define WEIGH(M)                                                                                     \
    static inline void weigh##M(const float *factors, int C, const float *w, int K, int wide, int D, \
                                float *out) {                                                        \
        for (int d = 0; d < wide; d += W) {                                                          \
            Vector sum[M];                                                                           \
            for (int c = 0; c < M; c++) sum[c] = AT(out + c * D + d);                                \
            for (int k = 0; k < K; k++) {                                                            \
                Vector x = AT(w + (size_t)k * D + d);                                                \
                for (int c = 0; c < M; c++) sum[c] += factors[k * C + c] * x;                        \
            }                                                                                        \
            for (int c = 0; c < M; c++) AT(out + c * D + d) = sum[c];                                \
        }                                                                                            \
    }
WEIGH(12)
WEIGH(4)
WEIGH(1)

/* out[C, D] = factors[K, C] transposed times w[K, D], of which `tile` columns at once */
static void weigh(const float *factors, int C, const float *w, int K, int D, int tile, float *out) {
    memset(out, 0, sizeof(float) * C * D);
    for (int d = 0; d < D; d += tile) {
        int wide = D - d < tile ? D - d : tile;
        for (int k = 0; k < K; k += ROWS) {
            int rows = K - k < ROWS ? K - k : ROWS, c = 0;
            const float *f = factors + k * C, *x = w + (size_t)k * D + d;
            for (; c + 12 <= C; c += 12) weigh12(f + c, C, x, rows, wide, D, out + c * D + d);
            for (; c + 4 <= C; c += 4) weigh4(f + c, C, x, rows, wide, D, out + c * D + d);
            for (; c < C; c++) weigh1(f + c, C, x, rows, wide, D, out + c * D + d);
        }
    }
}

/* out[p, c] = <w[p], g[c]> for M rows and 4 classes in registers */
#define DOTS(M)                                                                                   \
    static inline void dots##M(const float *w, const float *g, int D, float *out, int C) {        \
        Vector sum[M][4] = {0};                                                                   \
        for (int d = 0; d < D; d += W)                                                            \
            for (int p = 0; p < M; p++)                                                           \
                for (int c = 0; c < 4; c++) sum[p][c] += AT(w + (size_t)p * D + d) * AT(g + c * D + d); \
        for (int p = 0; p < M; p++)                                                               \
            for (int c = 0; c < 4; c++) out[p * C + c] = total(sum[p][c]);                        \
    }
DOTS(4)
DOTS(1)

/* out[P, C] = w[P, D] times g[C, D] transposed; C is a multiple of 4 */
static void dots(const float *w, int P, const float *g, int C, int D, float *out) {
    for (int p = 0; p < P;)
        if (p + 4 <= P) {
            for (int c = 0; c < C; c += 4) dots4(w + (size_t)p * D, g + c * D, D, out + p * C + c, C);
            p += 4;
        } else {
            for (int c = 0; c < C; c += 4) dots1(w + (size_t)p * D, g + c * D, D, out + p * C + c, C);
            p += 1;
        }
}

/* Runs `first` to `last`, the last not included. `options`: clip, 1 - beta1, beta2, 1 - beta2,
 * 1 - beta1^t, sqrt(1 / (1 - beta2^t)), epsilon, L2, decay; the differences come ready, since in
 * single precision 1 - 0.999 is wrong by 1e-5. Returns 0, or 1 where there is no memory. */
int linear_steps(int first, int last, int B, int L, int D, int P, int classes, const float *x_NLD,
                 const int64_t *rows_RB, const int64_t *labels_RB, const float *weights_B,
                 const float *rates_R, const float *options, float *const *now, float *const *mean,
                 float *const *square, float *losses_R) {
    const int C = (classes + 3) / 4 * 4;
    int tile = 8192 / C / W * W; /* C of them and some rows fit in the first cache */
    tile = tile < W ? W : tile > D ? D : tile;
    size_t floats = ((size_t)2 * B + 2 * C + 4) * D + (size_t)2 * B * C + (size_t)3 * P * C + P + 2 * C + 2 * L;
    float *work = malloc(sizeof(float) * floats);
    if (!work) return 1;
    float *x_BD = work, *dx_BD = x_BD + (size_t)B * D, *both_CD = dx_BD + (size_t)B * D;
    float *g_CD = both_CD + (size_t)C * D, *rows_4D = g_CD + (size_t)C * D, *z_BC = rows_4D + 4 * (size_t)D;
    float *z_CB = z_BC + B * C, *w2_PC = z_CB + B * C, *dw2_PC = w2_PC + P * C, *dw2_CP = dw2_PC + P * C;
    float *db1_P = dw2_CP + P * C, *bias_C = db1_P + P, *db2_C = bias_C + C, *share_L = db2_C + C;
    float *dweights_L = share_L + L;

    for (int r = first; r < last; r++) {
        float *w1_PD = now[1] + (size_t)r * P * D, *b1_P = now[2] + (size_t)r * P;
        float *w2_CP = now[3] + (size_t)r * classes * P, *b2_C = now[4] + (size_t)r * classes;
        const float *weights_L = now[0] + (size_t)r * L;
        const int64_t *rows_B = rows_RB + (size_t)r * B, *labels_B = labels_RB + (size_t)r * B;

        /* What the layers weigh, and their weighted sums. */
        float top = weights_L[0], sum = 0;
        for (int l = 1; l < L; l++) top = weights_L[l] > top ? weights_L[l] : top;
        for (int l = 0; l < L; l++) sum += share_L[l] = expf(weights_L[l] - top);
        for (int l = 0; l < L; l++) share_L[l] /= sum, dweights_L[l] = 0;
        for (int b = 0; b < B; b++) {
            const float *x_LD = x_NLD + (size_t)rows_B[b] * L * D;
            for (int d = 0; d < D; d += W) {
                Vector x = share_L[0] * AT(x_LD + d);
                for (int l = 1; l < L; l++) x += share_L[l] * AT(x_LD + l * D + d);
                AT(x_BD + b * D + d) = x;
            }
        }

        /* Both linear layers as one, cross-entropy, and its gradient in the logits. */
        for (int c = 0; c < C; c++) {
            float offset = c < classes ? b2_C[c] : -1e30f;
            for (int p = 0; p < P; p++) {
                w2_PC[p * C + c] = c < classes ? w2_CP[c * P + p] : 0;
                offset += w2_PC[p * C + c] * b1_P[p];
            }
            bias_C[c] = offset, db2_C[c] = 0;
        }
        weigh(w2_PC, C, w1_PD, P, D, tile, both_CD);
        dots(x_BD, B, both_CD, C, D, z_BC);
        float loss = 0;
        for (int b = 0; b < B; b++) {
            float *z_C = z_BC + b * C;
            for (int c = 0; c < C; c++) z_C[c] += bias_C[c];
            top = z_C[0], sum = 0;
            for (int c = 1; c < C; c++) top = z_C[c] > top ? z_C[c] : top;
            for (int c = 0; c < C; c++) sum += expf(z_C[c] - top);
            float whole = top + logf(sum);
            loss += weights_B[b] * (whole - z_C[labels_B[b]]);
            for (int c = 0; c < C; c++) z_C[c] = weights_B[b] * expf(z_C[c] - whole);
            z_C[labels_B[b]] -= weights_B[b];
            for (int c = 0; c < C; c++) db2_C[c] += z_CB[c * B + b] = z_C[c];
        }
        losses_R[r] = loss;

        /* The gradients. That of the projector is w2^T g, which is never stored as a whole. */
        weigh(z_BC, C, x_BD, B, D, tile, g_CD);
        if (L > 1) { /* the share of a single layer is 1 whatever its weight */
            weigh(z_CB, B, both_CD, C, D, D, dx_BD);
            for (int b = 0; b < B; b++)
                for (int l = 0; l < L; l++) {
                    const float *x_D = x_NLD + ((size_t)rows_B[b] * L + l) * D;
                    Vector dot = {0};
                    for (int d = 0; d < D; d += W) dot += AT(dx_BD + b * D + d) * AT(x_D + d);
                    dweights_L[l] += total(dot);
                }
            float mean_share = 0;
            for (int l = 0; l < L; l++) mean_share += share_L[l] * dweights_L[l];
            for (int l = 0; l < L; l++) dweights_L[l] = share_L[l] * (dweights_L[l] - mean_share);
        }
        dots(w1_PD, P, g_CD, C, D, dw2_PC);
        float norm = 0;
        for (int p = 0; p < P; p++) {
            float sum_p = 0;
            for (int c = 0; c < classes; c++) {
                float dw2 = dw2_PC[p * C + c] + db2_C[c] * b1_P[p];
                dw2_CP[c * P + p] = dw2, norm += dw2 * dw2;
                sum_p += db2_C[c] * w2_PC[p * C + c];
            }
            db1_P[p] = sum_p, norm += sum_p * sum_p;
        }
        for (int l = 0; l < L; l++) norm += dweights_L[l] * dweights_L[l];
        for (int c = 0; c < classes; c++) norm += db2_C[c] * db2_C[c];

        /* Clipping: the projector's square norm from two C x C matrices (batched_heads.py). */
        struct adam a = {rates_R[r] / options[4], 1 - rates_R[r] * options[8], options[1], options[2],
                         options[3], options[5], options[6], options[7], 1};
        if (options[0] > 0) {
            for (int c = 0; c < classes; c++)
                for (int e = 0; e <= c; e++) {
                    float dot = 0;
                    for (int p = 0; p < P; p++) dot += w2_CP[c * P + p] * w2_CP[e * P + p];
                    Vector other = {0};
                    for (int d = 0; d < D; d += W) other += AT(g_CD + c * D + d) * AT(g_CD + e * D + d);
                    norm += (e == c ? 1 : 2) * dot * total(other);
                }
            float limit = options[0] / (sqrtf(norm > 0 ? norm : 0) + 1e-6f);
            if (limit < 1) a.scale = limit;
        }

        float *mean_PD = mean[1] + (size_t)r * P * D, *square_PD = square[1] + (size_t)r * P * D;
        for (int t = 0; t < D; t += tile) {
            int wide = D - t < tile ? D - t : tile;
            for (int p = 0; p < P; p += 4) {
                int rows = P - p < 4 ? P - p : 4;
                for (int d = 0; d < wide; d += W) {
                    Vector four[4] = {0};
                    for (int c = 0; c < C; c++) {
                        Vector x = AT(g_CD + c * D + t + d);
                        for (int i = 0; i < 4; i++) four[i] += w2_PC[(i < rows ? p + i : p) * C + c] * x;
                    }
                    for (int i = 0; i < 4; i++) AT(rows_4D + i * wide + d) = four[i];
                }
                for (int i = 0; i < rows; i++) {
                    size_t at = (size_t)(p + i) * D + t;
                    adam(a, wide, w1_PD + at, mean_PD + at, square_PD + at, rows_4D + i * wide);
                }
            }
        }
        const float *small[] = {dweights_L, 0, db1_P, dw2_CP, db2_C};
        const int sizes[] = {L, 0, P, classes * P, classes};
        for (int i = 0; i < 5; i++) {
            size_t at = (size_t)r * sizes[i];
            if (small[i]) adam(a, sizes[i], now[i] + at, mean[i] + at, square[i] + at, small[i]);
        }
    }
    free(work);
    return 0;
}
