#include "tidegate.h"

const char *tg_configure(tg_text settings) { return tg_only(settings, NULL); }

// A reading in JSON and °C becomes a line of text in °F.
void tg_process(const tg_message *message) {
    double celsius, humidity;
    if (tg_number(message, "temperature", &celsius) && tg_number(message, "humidity", &humidity))
        tg_emitf("%.*s;%.1f;%.1f", TG_ARG(message->key), celsius * 1.8 + 32, humidity);
}
