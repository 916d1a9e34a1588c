#include "tidegate.h"

const char *tg_configure(tg_text settings) { return tg_only(settings, NULL); }

// One message with several readings becomes one for each.
void tg_process(const tg_message *message) {
    tg_text readings, index, reading, raw, name, value;
    if (!tg_field(message, "readings", &readings)) return;
    if (*readings.at != '[') { tg_reject("field `readings` is not a list"); return; }
    for (tg_cursor c = tg_over(readings); tg_next(&c, &index, &reading);) {
        if (!tg_find(reading, "name", &raw) || !tg_to_text(raw, &name)) { tg_reject("a reading has no name"); return; }
        if (!tg_find(reading, "value", &value)) value = TG("null");
        tg_draft draft = { .topic = tg_textf("devices/%.*s/%.*s", TG_ARG(message->key), TG_ARG(name)) };
        draft.payload = tg_textf("{\"value\":%.*s}", TG_ARG(value));
        tg_send(draft);
    }
}
