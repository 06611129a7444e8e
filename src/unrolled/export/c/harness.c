/* Compares model.c with unrolled: compiled by unrolled.export.c.check, with what stands behind dollar signs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "model.c"

static void model_stop(const char *why, int code)
{
    fprintf(stderr, "%s: code %d\n", why, code);
    exit(3);
}

/* harness STEPS KEEP REPEATS SERIES: reads the inputs of STEPS steps, writes the outputs of every KEEP-th; half way the
 * state is saved and goes on in another one; then the steps are timed. */
int main(int count, char **words)
{
    static model_state one, two;
    static unsigned char bytes[MODEL_SAVED_BYTES], again[MODEL_SAVED_BYTES];
    static float raw[$rows_out];
    static $answer_type answer[MODEL_ANSWERS];
    static $input_type x[$input_count];
    static double time_of_step;
    const int steps = count > 1 ? atoi(words[1]) : 0, keep = count > 2 ? atoi(words[2]) : 1;
    const int repeats = count > 3 ? atoi(words[3]) : 0, series = count > 4 ? atoi(words[4]) : 0;
    $input_type *all = ($input_type *)malloc(sizeof x * (size_t)(steps > 0 ? steps : 1));
    double *times = (double *)malloc(sizeof(double) * (size_t)(steps > 0 ? steps : 1));
    model_state *s = &one;
    int i, k, code;
    volatile float sink = 0.0f;
    (void)series;
    memset(&one, 0xa5, sizeof one);
    memset(&two, 0x5a, sizeof two);
$bind
    if ((code = model_init(&one)) != MODEL_OK || (code = model_init(&two)) != MODEL_OK) model_stop("init", code);
$choose
    for (i = 0; i < steps; i++) {
        if (fread(all + (size_t)i * $input_count, sizeof x, 1, stdin) != 1) model_stop("input", i);
        if ($timed && fread(times + i, sizeof(double), 1, stdin) != 1) model_stop("time", i);
    }
    for (i = 0; i < steps; i++) {
        memcpy(x, all + (size_t)i * $input_count, sizeof x);
        time_of_step = times[i];
        (void)time_of_step;
        if (i == steps / 2) {
            model_save(s, bytes);
            bytes[7] ^= 1u;
            if ((code = model_load(&two, bytes, sizeof bytes)) != MODEL_WRONG_MODEL) model_stop("another model's", code);
            bytes[7] ^= 1u, bytes[MODEL_SAVED_BYTES - 9] ^= 1u;
            if ((code = model_load(&two, bytes, sizeof bytes)) == MODEL_OK) model_stop("altered", code);
            bytes[MODEL_SAVED_BYTES - 9] ^= 1u;
            if ((code = model_load(&two, bytes, sizeof bytes - 1)) != MODEL_WRONG_SIZE) model_stop("torn", code);
            if ((code = model_load(&two, bytes, sizeof bytes)) != MODEL_OK) model_stop("load", code);
            model_save(&two, again);
            if (memcmp(bytes, again, sizeof bytes) != 0) model_stop("save", i);
            s = &two;
        }
        if ((code = model_forward(s, $given, raw)) != MODEL_OK) model_stop("step", code);
        memset(answer, 0, sizeof answer);
        model_answer(s, raw, answer);
        if (i % keep == 0) {
            fwrite(raw, sizeof raw, 1, stdout);
            fwrite(answer, sizeof answer, 1, stdout);
        }
    }
    if (repeats > 0) {
        double best = 1e30;
        for (k = 0; k < repeats; k++) {
            const clock_t begin = clock();
            double took;
            if (model_reset(s) != MODEL_OK) model_stop("reset", k);
$choose
            for (i = 0; i < steps; i++) {
                memcpy(x, all + (size_t)i * $input_count, sizeof x);
                time_of_step = times[i];
                if ((code = model_step(s, $given, answer)) != MODEL_OK) model_stop("timed step", code);
                sink += (float)answer[0];
            }
            took = (double)(clock() - begin) / CLOCKS_PER_SEC / steps;
            best = took < best ? took : best;
        }
        fprintf(stderr, "%.1f\n", best * 1e9);
    }
    free(all), free(times);
    return 0;
}
