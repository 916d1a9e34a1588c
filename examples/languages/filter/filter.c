#include "tidegate.h"

static double limit;

const char *tg_configure(tg_text settings) {
    const char *wrong = tg_only(settings, "limit", NULL);
    return wrong ? wrong : tg_setting_number(settings, "limit", &limit);
}

// Keeps readings whose temperature is above `limit`.
void tg_process(const tg_message *message) {
    double temperature;
    if (tg_number(message, "temperature", &temperature) && temperature > limit) tg_pass();
}
