#define TG_PORTS "alarms"
#define TG_TIMER
#define TG_STATE struct { uint64_t heard_us; bool is_silent; }
#include "tidegate.h"

static uint64_t after_us;

const char *tg_configure(tg_text settings) {
    const char *wrong = tg_only(settings, "after", NULL);
    if (!wrong) wrong = tg_setting_duration(settings, "after", &after_us);
    if (!wrong) tg_tick_every(after_us / 6);
    return wrong;
}

static void alarm(tg_text device, const char *state) {
    tg_draft draft = { .port = 1, .key = device };
    draft.topic = tg_textf("alarms/%.*s/silence", TG_ARG(device));
    draft.payload = tg_textf("{\"device\":%.*s,\"state\":\"%s\"}", TG_ARG(tg_quote(device)), state);
    tg_send(draft);
}

// An alarm when a device falls silent, and its end when it is back.
void tg_process(const tg_message *message) {
    tg_kept *device = tg_state(message->key);
    device->heard_us = message->running_us;
    tg_pass();
    if (device->is_silent) alarm(message->key, "back");
    device->is_silent = false;
}

void tg_tick(void) {
    tg_text key;
    const tg_kept *device;
    for (size_t at = 0; tg_each(&at, &key, &device);) {
        if (device->is_silent || tg_running_us() - device->heard_us < after_us) continue;
        tg_state(key)->is_silent = true;
        alarm(key, "silent");
    }
}
