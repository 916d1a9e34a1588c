#define TG_STATE struct { uint64_t count; }
#include "tidegate.h"

const char *tg_configure(tg_text settings) { return tg_only(settings, NULL); }

// Counts the messages of each device.
void tg_process(const tg_message *message) {
    unsigned long long count = ++tg_state(message->key)->count;
    tg_emitf("{\"device\":%.*s,\"count\":%llu}", TG_ARG(tg_quote(message->key)), count);
}
