/* An example, and a test for your machine: runs ${count} steps and compares with what unrolled gave. */
${includes}#include <stdio.h>

#include "model.h"

${tables}
static model_state state, other;
static unsigned char saved[MODEL_SAVED_BYTES];

int main(void)
{
    ${kind} answer[MODEL_ANSWERS];
    int i, k, code;
${bind}    code = model_init(&state);
    if (code == MODEL_OK) code = model_init(&other);
${choose}    for (i = 0; i < ${count} && code == MODEL_OK; i++) {
        code = model_step(&state, ${given}, answer);
        if (code != MODEL_OK) break;
        printf("step %d:", i);
        for (k = 0; k < MODEL_ANSWERS && k < 6; k++) printf(" %.6g", (double)answer[k]);
        printf("\n");
        for (k = 0; k < MODEL_ANSWERS; k++) {
            const double apart = (double)answer[k] - (double)wanted[i][k];
            const double most = ${tolerance};
            if (!(apart <= most && apart >= -most)) {
                printf("answer %d differs: %.9g, wanted %.9g\n", k, (double)answer[k], (double)wanted[i][k]);
                return 1;
            }
        }
    }
    if (code != MODEL_OK) {
        printf("code %d, see model.h\n", code);
        return 1;
    }
    model_save(&state, saved); /* ${saved} bytes, which another program of this model may take */
    if (model_load(&other, saved, sizeof saved) != MODEL_OK) return 1;
    printf("equal to unrolled over ${count} steps; the state was saved and loaded\n");
    return 0;
}
