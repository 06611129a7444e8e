/* The pieces of an exported model. unrolled.export takes those that a network needs, in this order, and gives
 * every name that begins with model_ or MODEL_ the prefix that was asked for. */

/* == bits == */
typedef union model_bits {
    float value;
    uint32_t bits;
} model_bits;

/* GCC and clang vectorise the loops over units only where these functions are part of them. */
#if defined(__GNUC__)
#define MODEL_INLINE static inline __attribute__((always_inline))
#else
#define MODEL_INLINE static
#endif

static int model_finite(const float *x, int32_t n)
{
    uint32_t wrong = 0;
    int32_t i;
    for (i = 0; i < n; i++) {
        model_bits u;
        u.value = x[i];
        wrong |= (u.bits & 0x7f800000u) == 0x7f800000u;
    }
    return wrong == 0;
}

static void model_copy(float *to, const float *from, int32_t n)
{
    int32_t i;
    for (i = 0; i < n; i++) to[i] = from[i];
}

static void model_zero(float *to, int32_t n)
{
    int32_t i;
    for (i = 0; i < n; i++) to[i] = 0.0f;
}

/* a * b + c. Where the processor does it in one rounding it is asked for: the loops below are written so that
 * the sums have the order of the runtime's. -DMODEL_FMA=0 or 1 overrides the choice. */
#ifndef MODEL_FMA
#if defined(__GNUC__) && (defined(__FMA__) || defined(__ARM_FEATURE_FMA))
#define MODEL_FMA 1
#else
#define MODEL_FMA 0
#endif
#endif
#if MODEL_FMA
#define MODEL_MULTIPLY_ADD(a, b, c) __builtin_fmaf((a), (b), (c))
#else
#define MODEL_MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#endif

/* == nearest == */
/* The nearest whole number of |x| < 2^22, of two the even one. */
MODEL_INLINE int32_t model_nearest(float x)
{
#if FLT_EVAL_METHOD == 0 && !defined(__FAST_MATH__)
    return (int32_t)((x + 12582912.0f) - 12582912.0f);
#else
    const int32_t whole = (int32_t)x;
    const float rest = x - (float)whole;
    const int32_t odd = whole & 1;
    return whole + ((rest > 0.5f) | ((rest == 0.5f) & odd)) - ((rest < -0.5f) | ((rest == -0.5f) & odd));
#endif
}

/* == power == */
#ifndef MODEL_LIBM
/* exp(-a) = scale * (1 + part) for |a| <= 88, part below 0.42 in size: neither exp(-a) nor exp(-a) - 1 cancels.
 * Errors in units of the last place: exp 1.1, sigmoid 2.5, tanh 3. -DMODEL_LIBM takes expf and tanhf instead. */
typedef struct model_power {
    float scale, part;
} model_power;

/* A number within 88 of zero; by its bits, as a loop with comparisons of floats is not vectorised. */
MODEL_INLINE float model_limited(float a)
{
    const uint32_t most = 0x42b00000u; /* 88 */
    model_bits u;
    uint32_t size;
    u.value = a;
    size = u.bits & 0x7fffffffu;
    u.bits = (u.bits & 0x80000000u) | (size < most ? size : most);
    return u.value;
}

MODEL_INLINE model_power model_exp_of_minus(float a)
{
    const float halvings = a * -1.4426950216293335f;
    const int32_t whole = model_nearest(halvings);
    const float n = (float)whole;
    const float r = MODEL_MULTIPLY_ADD(n, 0.00021219444170128554f, -(n * 0.693359375f) - a);
    float q = 0.0013946472899988294f;
    model_bits scale;
    model_power found;
    q = MODEL_MULTIPLY_ADD(q, r, 0.008366597816348076f);
    q = MODEL_MULTIPLY_ADD(q, r, 0.04166628047823906f);
    q = MODEL_MULTIPLY_ADD(q, r, 0.1666654348373413f);
    q = MODEL_MULTIPLY_ADD(q, r, 0.5f);
    scale.bits = (uint32_t)(whole + 127) << 23;
    found.scale = scale.value;
    found.part = MODEL_MULTIPLY_ADD(r * r, q, r);
    return found;
}
#else
#include <math.h>
#endif

/* == exp == */
#ifdef MODEL_LIBM
MODEL_INLINE float model_exp_minus(float a) { return expf(-a); }
#else
MODEL_INLINE float model_exp_minus(float a)
{
    const model_power e = model_exp_of_minus(model_limited(a));
    return MODEL_MULTIPLY_ADD(e.scale, e.part, e.scale);
}
#endif

/* == sigmoid == */
MODEL_INLINE float model_sigmoid(float x) { return 1.0f / (1.0f + model_exp_minus(x)); }

/* == tanh == */
#ifdef MODEL_LIBM
MODEL_INLINE float model_tanh(float x) { return tanhf(x); }
#else
MODEL_INLINE float model_tanh(float x)
{
    model_bits u, found;
    model_power e;
    float minus;
    u.value = x;
    found.bits = u.bits & 0x7fffffffu;
    e = model_exp_of_minus(model_limited(found.value + found.value));
    minus = MODEL_MULTIPLY_ADD(e.scale, e.part, e.scale - 1.0f); /* exp(-2|x|) - 1 */
    found.value = minus * (1.0f / (2.0f + minus));
    found.bits = (found.bits & 0x7fffffffu) | (u.bits & 0x80000000u);
    return found.value;
}
#endif

/* == float32 == */
/* out[n] += w[n][k] * x[k], one chain of sums in rising k for each n. The weights lie in panels of 32 outputs,
 * then of 8, then of 1: of a panel first the weights that meet x[0], then those that meet x[1], and so on. Two
 * panels go side by side where there are registers for so many sums. */
#define MODEL_PANELS(count, width)                                                                   \
    for (; n + (count) * (width) <= outputs; n += (count) * (width), w += ((count)-1) * (width) * inputs) { \
        const float *const w2 = w + ((count)-1) * (width) * inputs;                                  \
        float sum[(count) * (width)];                                                                \
        for (i = 0; i < (count) * (width); i++) sum[i] = out[n + i];                                 \
        for (k = 0; k < inputs; k++, w += (width)) {                                                 \
            const float a = x[k];                                                                    \
            for (i = 0; i < (width); i++) sum[i] = MODEL_MULTIPLY_ADD(a, w[i], sum[i]);              \
            if ((count) == 2)                                                                        \
                for (i = 0; i < (width); i++)                                                        \
                    sum[(count) * (width) - (width) + i] =                                           \
                        MODEL_MULTIPLY_ADD(a, w2[k * (width) + i], sum[(count) * (width) - (width) + i]); \
        }                                                                                            \
        for (i = 0; i < (count) * (width); i++) out[n + i] = sum[i];                                 \
    }
static void model_product(float *out, const float *w, const float *x, int32_t outputs, int32_t inputs)
{
    int32_t n = 0, k, i;
#if defined(__AVX__) || defined(__aarch64__)
    MODEL_PANELS(2, 32)
#endif
    MODEL_PANELS(1, 32)
    MODEL_PANELS(1, 8)
    MODEL_PANELS(1, 1)
}

/* == int8 == */
/* q = x * 127 / max|x| as whole numbers; returns max|x| / 127, by which they are multiplied again. */
static float model_quantise(int8_t *q, const float *x, int32_t n)
{
    float most = 0.0f, inverse;
    int32_t i;
    for (i = 0; i < n; i++) {
        const float a = x[i] < 0.0f ? -x[i] : x[i];
        most = a > most ? a : most;
    }
    if (!(most >= 7.5231638e-37f)) { /* so small that the quotient is no number */
        for (i = 0; i < n; i++) q[i] = 0;
        return 0.0f;
    }
    inverse = 127.0f / most;
    for (i = 0; i < n; i++) q[i] = (int8_t)model_nearest(x[i] * inverse);
    return most / 127.0f;
}

/* out[n] += w[n][k] * q[k] * (scales[n] * scale), w by rows; the sums are exact. */
static void model_product8(float *out, const int8_t *w, const float *scales, const int8_t *q, float scale,
                           int32_t outputs, int32_t inputs)
{
    int32_t n = 0, k;
    for (; n + 4 <= outputs; n += 4, w += 4 * inputs) {
        const int8_t *const w1 = w + inputs, *const w2 = w1 + inputs, *const w3 = w2 + inputs;
        int32_t sum = 0, sum1 = 0, sum2 = 0, sum3 = 0;
        for (k = 0; k < inputs; k++) {
            sum += (int32_t)w[k] * (int32_t)q[k];
            sum1 += (int32_t)w1[k] * (int32_t)q[k];
            sum2 += (int32_t)w2[k] * (int32_t)q[k];
            sum3 += (int32_t)w3[k] * (int32_t)q[k];
        }
        out[n] = out[n] + (float)sum * (scales[n] * scale);
        out[n + 1] = out[n + 1] + (float)sum1 * (scales[n + 1] * scale);
        out[n + 2] = out[n + 2] + (float)sum2 * (scales[n + 2] * scale);
        out[n + 3] = out[n + 3] + (float)sum3 * (scales[n + 3] * scale);
    }
    for (; n < outputs; n++, w += inputs) {
        int32_t sum = 0;
        for (k = 0; k < inputs; k++) sum += (int32_t)w[k] * (int32_t)q[k];
        out[n] = out[n] + (float)sum * (scales[n] * scale);
    }
}

/* == lstm == */
/* From the pre-activations of i, f, g, o [4H] to c and h. */
static void model_lstm(const float *pre, float *h, float *c, int32_t size)
{
    int32_t j;
    for (j = 0; j < size; j++) {
        const float in = model_sigmoid(pre[j]), forget = model_sigmoid(pre[size + j]);
        const float candidate = model_tanh(pre[2 * size + j]), output = model_sigmoid(pre[3 * size + j]);
        const float cell = MODEL_MULTIPLY_ADD(forget, c[j], in * candidate);
        c[j] = cell;
        h[j] = output * model_tanh(cell);
    }
}

/* == gru == */
/* From the pre-activations of n of x, r, z, n of h [4H] to h. */
static void model_gru(const float *pre, float *h, int32_t size)
{
    int32_t j;
    for (j = 0; j < size; j++) {
        const float r = model_sigmoid(pre[size + j]), z = model_sigmoid(pre[2 * size + j]);
        const float n = model_tanh(MODEL_MULTIPLY_ADD(r, pre[3 * size + j], pre[j]));
        h[j] = MODEL_MULTIPLY_ADD(z, h[j], MODEL_MULTIPLY_ADD(-z, n, n));
    }
}

/* == rnn_tanh == */
static void model_rnn(const float *pre, float *h, int32_t size)
{
    int32_t j;
    for (j = 0; j < size; j++) h[j] = model_tanh(pre[j]);
}

/* == rnn_relu == */
static void model_rnn(const float *pre, float *h, int32_t size)
{
    int32_t j;
    for (j = 0; j < size; j++) h[j] = 0.0f > pre[j] ? 0.0f : pre[j];
}

/* == saving == */
static void model_put32(unsigned char *to, uint32_t word)
{
    to[0] = (unsigned char)(word & 255u), to[1] = (unsigned char)((word >> 8) & 255u);
    to[2] = (unsigned char)((word >> 16) & 255u), to[3] = (unsigned char)(word >> 24);
}

static uint32_t model_get32(const unsigned char *from)
{
    return (uint32_t)from[0] | ((uint32_t)from[1] << 8) | ((uint32_t)from[2] << 16) | ((uint32_t)from[3] << 24);
}

static uint32_t model_check_sum(const unsigned char *bytes, size_t size) /* CRC-32 of IEEE 802.3 */
{
    uint32_t sum = 0xffffffffu;
    size_t i;
    int bit;
    for (i = 0; i < size; i++) {
        sum ^= bytes[i];
        for (bit = 0; bit < 8; bit++) sum = (sum >> 1) ^ (0xedb88320u & (0u - (sum & 1u)));
    }
    return ~sum;
}

static unsigned char *model_put(unsigned char *to, const float *from, int32_t n)
{
    int32_t i;
    for (i = 0; i < n; i++, to += 4) {
        model_bits u;
        u.value = from[i];
        model_put32(to, u.bits);
    }
    return to;
}

static const unsigned char *model_get(float *to, const unsigned char *from, int32_t n)
{
    int32_t i;
    for (i = 0; i < n; i++, from += 4) {
        model_bits u;
        u.bits = model_get32(from);
        to[i] = u.value;
    }
    return from;
}

/* == log1p == */
/* log(1 + x) of x >= 0: 1 + x = m * 2^e, log m = 2 * artanh((m - 1) / (m + 1)). */
static double model_log1p(double x)
{
    double m = 1.0 + x, halvings = 0.0, s, power, sum;
    const double lost = (x - (m - 1.0)) / m;
    int i;
    while (m > 1.4142135623730951) m *= 0.5, halvings += 1.0;
    s = (m - 1.0) / (m + 1.0);
    power = sum = s;
    for (i = 3; i <= 21; i += 2) {
        power *= s * s;
        sum += power / i;
    }
    return 2.0 * sum + halvings * 0.6931471805599453 + lost;
}

/* == missing == */
static int model_missing(float x)
{
    model_bits u;
    u.value = x;
    return (u.bits & 0x7fffffffu) > 0x7f800000u;
}

/* == infinite == */
static int model_infinite(float x)
{
    model_bits u;
    u.value = x;
    return (u.bits & 0x7fffffffu) == 0x7f800000u;
}

/* == clip == */
static double model_clip(double x, double most) { return x < -most ? -most : x > most ? most : x; }

/* == softmax == */
static void model_softmax(float *p, int32_t n, float temperature)
{
    float most = p[0], sum = 0.0f;
    int32_t i;
    for (i = 1; i < n; i++) most = p[i] > most ? p[i] : most;
    for (i = 0; i < n; i++) {
        p[i] = model_exp_minus((most - p[i]) / temperature);
        sum += p[i];
    }
    for (i = 0; i < n; i++) p[i] /= sum;
}

/* == softplus == */
static double model_softplus(double x) /* log(1 + exp(x)) */
{
    return (x > 0.0 ? x : 0.0) + model_log1p((double)model_exp_minus((float)(x < 0.0 ? -x : x)));
}

/* == bits64 == */
typedef union model_bits64 {
    double value;
    uint64_t bits;
} model_bits64;

/* == missing64 == */
static int model_missing64(double x)
{
    model_bits64 u;
    u.value = x;
    return (u.bits & 0x7fffffffffffffffu) > 0x7ff0000000000000u;
}

/* == saving64 == */
static unsigned char *model_put64(unsigned char *to, const double *from, int32_t n)
{
    int32_t i;
    for (i = 0; i < n; i++, to += 8) {
        model_bits64 u;
        u.value = from[i];
        model_put32(to, (uint32_t)(u.bits & 0xffffffffu));
        model_put32(to + 4, (uint32_t)(u.bits >> 32));
    }
    return to;
}

static const unsigned char *model_get64(double *to, const unsigned char *from, int32_t n)
{
    int32_t i;
    for (i = 0; i < n; i++, from += 8) {
        model_bits64 u;
        u.bits = (uint64_t)model_get32(from) | ((uint64_t)model_get32(from + 4) << 32);
        to[i] = u.value;
    }
    return from;
}
