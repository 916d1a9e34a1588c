/* What a Tidegate plugin in C or C++ is made with: this one header, in one source file. It hides the words and bytes of the
 * contract, and the canonical ABI. Nothing in it is yours to change; `tidegate plugin new` brings the one that fits its gateway.
 *
 * An author writes `tg_configure` and `tg_process`. Before the header may stand
 *   #define TG_PORTS "alarms", "late"            ports beside `out`, numbered from 1
 *   #define TG_TIMER                             and then writes `tg_tick`
 *   #define TG_STATE struct { uint64_t count; }  a value by key that survives restarts, got with `tg_state(key)`
 *   #define TG_STATE_VERSION 2, TG_MOST_KEYS 1000, TG_ONE_LANE
 * What a message needs is on the call's own memory and gone with it: `tg_alloc`, and every text that is handed out. */
#ifndef TIDEGATE_H
#define TIDEGATE_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif
#define TG_EXPORT(name) __attribute__((export_name(name), used))
#define TG_IMPORT(module, name) __attribute__((import_module("tidegate:plugin/" module "@0.1.0"), import_name(name)))
#define TG_FN __attribute__((unused)) static

typedef struct { const char *at; size_t len; } tg_text;
#define TG(literal) ((tg_text){ literal, sizeof(literal) - 1 })
/* For `%.*s`. */
#define TG_ARG(text) (int)(text).len, (text).at
TG_FN tg_text tg_str(const char *s) { tg_text t = { s, strlen(s) }; return t; }
TG_FN bool tg_is(tg_text a, tg_text b) { return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0); }

/* ── memory of a call: given back at its end, at once ── */
enum { TG_BLOCK = 64 << 10 };
typedef struct tg_block { struct tg_block *next; } tg_block;
static tg_block *tg_blocks;
static char *tg_free_at, *tg_free_end;
TG_FN void *tg_alloc(size_t size) {
    size = size ? (size + 15) & ~(size_t)15 : 16;
    if ((size_t)(tg_free_end - tg_free_at) < size) {
        size_t whole = size + 16 > TG_BLOCK ? size + 16 : TG_BLOCK;
        tg_block *block = (tg_block *)malloc(whole);
        if (!block) abort();
        block->next = tg_blocks; tg_blocks = block;
        tg_free_at = (char *)block + 16; tg_free_end = (char *)block + whole;
    }
    void *at = tg_free_at;
    tg_free_at += size;
    return at;
}
TG_FN void tg_free_all(void) {
    while (tg_blocks && tg_blocks->next) { tg_block *next = tg_blocks->next; free(tg_blocks); tg_blocks = next; }
    if (tg_blocks) { tg_free_at = (char *)tg_blocks + 16; tg_free_end = (char *)tg_blocks + TG_BLOCK; }
}
TG_EXPORT("cabi_realloc") void *tg_realloc(void *old, size_t old_size, size_t align, size_t size) {
    (void)align;
    void *at = tg_alloc(size);
    if (old && old_size) memcpy(at, old, old_size < size ? old_size : size);
    return at;
}
/* Text as `printf` makes it. */
TG_FN tg_text tg_textf(const char *format, ...) __attribute__((format(printf, 1, 2)));
TG_FN tg_text tg_vtextf(const char *format, va_list more) {
    va_list again;
    va_copy(again, more);
    int len = vsnprintf(NULL, 0, format, more);
    char *at = (char *)tg_alloc((size_t)len + 1);
    vsnprintf(at, (size_t)len + 1, format, again);
    va_end(again);
    tg_text text = { at, (size_t)len };
    return text;
}
TG_FN tg_text tg_textf(const char *format, ...) {
    va_list more;
    va_start(more, format);
    tg_text text = tg_vtextf(format, more);
    va_end(more);
    return text;
}
/* A number in as few digits as bring it back. */
TG_FN const char *tg_digits(double number) {
    char *digits = (char *)tg_alloc(32);
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, 32, "%.*g", precision, number);
        if (strtod(digits, NULL) == number) break;
    }
    return digits;
}

typedef struct { char *at; size_t len, room; } tg_buffer;
TG_FN void tg_add(tg_buffer *b, const void *bytes, size_t len) {
    if (b->len + len > b->room) {
        size_t room = b->room * 2 > b->len + len ? b->room * 2 : b->len + len + 256;
        b->at = (char *)realloc(b->at, room); b->room = room;
        if (!b->at) abort();
    }
    if (len) memcpy(b->at + b->len, bytes, len);
    b->len += len;
}

/* ── the host ── */
TG_IMPORT("log", "log") void tg_host_log(uint32_t level, const char *at, size_t len);
TG_IMPORT("metrics", "counter") void tg_host_counter(const char *at, size_t len, uint64_t add);
TG_IMPORT("metrics", "gauge") void tg_host_gauge(const char *at, size_t len, double value);
/* Microseconds since 1970, which may jump; and microseconds the gateway has run, for durations, also in state. */
TG_IMPORT("clock", "now-us") uint64_t tg_now_us(void);
TG_IMPORT("clock", "running-us") uint64_t tg_running_us(void);
TG_FN void tg_error(tg_text text) { tg_host_log(0, text.at, text.len); }
TG_FN void tg_warn(tg_text text) { tg_host_log(1, text.at, text.len); }
TG_FN void tg_info(tg_text text) { tg_host_log(2, text.at, text.len); }
TG_FN void tg_count(const char *name, uint64_t add) { tg_host_counter(name, strlen(name), add); }
TG_FN void tg_gauge(const char *name, double value) { tg_host_gauge(name, strlen(name), value); }

/* ── messages in, outputs out ── */
typedef struct {
    tg_text topic, key, headers, payload;
    uint64_t received_us, running_us;
    uint32_t marks;
} tg_message;
enum { TG_RETAIN = 1, TG_DUPLICATE = 2, TG_REPLAYED = 4, TG_CLOCK_UNSET = 8, TG_EXCUSED = 64 };

static tg_buffer tg_words, tg_data;
static uint32_t tg_input;
static const tg_message *tg_at_hand;
static size_t tg_kept_words, tg_kept_data;
static bool tg_rejected, tg_checked;
TG_FN void tg_put(uint32_t action, uint32_t port, tg_text topic, tg_text headers, tg_text payload, uint32_t marks, tg_text key) {
    uint32_t entry[8] = { tg_input, action | port << 16, (uint32_t)topic.len, (uint32_t)headers.len, (uint32_t)payload.len, 0, marks,
                          (uint32_t)key.len };
    if (tg_rejected) return;
    tg_add(&tg_words, entry, sizeof entry);
    tg_add(&tg_data, topic.at, topic.len);
    tg_add(&tg_data, headers.at, headers.len);
    tg_add(&tg_data, payload.at, payload.len);
    tg_add(&tg_data, key.at, key.len);
}
/* The message goes on as it is. */
TG_FN void tg_pass(void) { tg_put(0, 0, TG(""), TG(""), TG(""), tg_at_hand->marks, TG("")); }
/* It went into state. */
TG_FN void tg_absorb(void) { tg_put(2, 0, TG(""), TG(""), TG(""), tg_at_hand->marks, TG("")); }
/* A new payload under its topic, key, headers and marks. */
TG_FN void tg_emit(tg_text payload) { tg_put(1, 0, TG(""), tg_at_hand->headers, payload, tg_at_hand->marks, TG("")); }
TG_FN void tg_emitf(const char *format, ...) __attribute__((format(printf, 1, 2)));
TG_FN void tg_emitf(const char *format, ...) {
    va_list more;
    va_start(more, format);
    tg_emit(tg_vtextf(format, more));
    va_end(more);
}
/* A message of your own; what is left out is empty, and the key that of the message at hand. A timer's needs topic and key. */
typedef struct { tg_text topic, payload, key, headers; uint32_t port; bool retain; } tg_draft;
TG_FN void tg_send(tg_draft draft) {
    tg_put(1, draft.port, draft.topic, draft.headers, draft.payload, (draft.retain ? TG_RETAIN : 0) | 1 << 4, draft.key);
}
/* It goes to the dead letters in these words, and whatever was said of it does not count. */
TG_FN void tg_reject_as(tg_text why, uint32_t mark) {
    if (tg_rejected) return;
    tg_words.len = tg_kept_words; tg_data.len = tg_kept_data;
    tg_put(3, 0, TG(""), TG(""), why, tg_at_hand->marks | mark, TG(""));
    tg_rejected = true;
}
TG_FN void tg_reject(const char *why) { tg_reject_as(tg_str(why), 0); }
TG_FN void tg_rejectf(const char *format, ...) __attribute__((format(printf, 1, 2)));
TG_FN void tg_rejectf(const char *format, ...) {
    va_list more;
    va_start(more, format);
    tg_reject_as(tg_vtextf(format, more), 0);
    va_end(more);
}

/* ── JSON: the whole text is checked, then fields are found by path; values are their text in it ── */
typedef struct { const char *at, *end; } tg_cursor;
TG_FN void tg_blank(tg_cursor *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r')) c->at++;
}
TG_FN bool tg_take(tg_cursor *c, char what) {
    tg_blank(c);
    if (c->at < c->end && *c->at == what) { c->at++; return true; }
    return false;
}
TG_FN int tg_hex(const char *at) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char d = at[i];
        int digit = d >= '0' && d <= '9' ? d - '0' : d >= 'a' && d <= 'f' ? d - 'a' + 10 : d >= 'A' && d <= 'F' ? d - 'A' + 10 : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}
/* Bytes of the character that begins here; 0 where it is no UTF-8. */
TG_FN size_t tg_utf8(const unsigned char *at, size_t left) {
    if (at[0] < 0x80) return 1;
    size_t n = at[0] >= 0xc2 && at[0] < 0xe0 ? 2 : at[0] >= 0xe0 && at[0] < 0xf0 ? 3 : at[0] >= 0xf0 && at[0] < 0xf5 ? 4 : 0;
    if (n == 0 || n > left) return 0;
    for (size_t i = 1; i < n; i++) if ((at[i] & 0xc0) != 0x80) return 0;
    bool is_odd = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf0 && at[1] < 0x90)
        || (at[0] == 0xf4 && at[1] > 0x8f);
    return is_odd ? 0 : n;
}
TG_FN bool tg_quoted(tg_cursor *c, tg_text *inside) {
    if (!tg_take(c, '"')) return false;
    const char *from = c->at;
    while (c->at < c->end && *c->at != '"') {
        if ((unsigned char)*c->at < 0x20) return false;
        if (*c->at == '\\') {
            if (c->end - c->at < 2) return false;
            bool is_unicode = c->at[1] == 'u';
            if (is_unicode ? c->end - c->at < 6 || tg_hex(c->at + 2) < 0 : !strchr("\"\\/bfnrt", c->at[1])) return false;
            c->at += is_unicode ? 6 : 2;
            continue;
        }
        size_t n = tg_utf8((const unsigned char *)c->at, (size_t)(c->end - c->at));
        if (n == 0) return false;
        c->at += n;
    }
    if (c->at >= c->end) return false;
    inside->at = from; inside->len = (size_t)(c->at - from);
    c->at++;
    return true;
}
TG_FN bool tg_numeral(tg_cursor *c) {
    const char *at = c->at;
#define TG_DIGIT (at < c->end && *at >= '0' && *at <= '9')
    if (at < c->end && *at == '-') at++;
    if (!TG_DIGIT) return false;
    if (*at == '0') at++; else while (TG_DIGIT) at++;
    if (at < c->end && *at == '.') { at++; if (!TG_DIGIT) return false; while (TG_DIGIT) at++; }
    if (at < c->end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < c->end && (*at == '+' || *at == '-')) at++;
        if (!TG_DIGIT) return false;
        while (TG_DIGIT) at++;
    }
#undef TG_DIGIT
    c->at = at;
    return true;
}
TG_FN bool tg_word(tg_cursor *c, tg_text word) {
    if ((size_t)(c->end - c->at) < word.len || memcmp(c->at, word.at, word.len) != 0) return false;
    c->at += word.len;
    return true;
}
TG_FN bool tg_value(tg_cursor *c, tg_text *value, int depth) {
    tg_blank(c);
    const char *from = c->at;
    tg_text inside;
    if (depth > 64 || c->at >= c->end) return false;
    if (*c->at == '"') {
        if (!tg_quoted(c, &inside)) return false;
    } else if (*c->at == '{' || *c->at == '[') {
        char close = *c->at == '{' ? '}' : ']';
        c->at++;
        if (!tg_take(c, close)) do {
            if (close == '}' && (!tg_quoted(c, &inside) || !tg_take(c, ':'))) return false;
            if (!tg_value(c, &inside, depth + 1)) return false;
            if (tg_take(c, close)) { close = 0; break; }
        } while (tg_take(c, ','));
        else close = 0;
        if (close) return false;
    } else if (!tg_word(c, TG("true")) && !tg_word(c, TG("false")) && !tg_word(c, TG("null")) && !tg_numeral(c)) {
        return false;
    }
    value->at = from; value->len = (size_t)(c->at - from);
    return true;
}
TG_FN bool tg_json(tg_text json) {
    tg_cursor c = { json.at, json.at + json.len };
    tg_text whole;
    if (!tg_value(&c, &whole, 0)) return false;
    tg_blank(&c);
    return c.at == c.end;
}
/* Goes over the members of an object, or the elements of a list: `tg_cursor c = tg_over(value); while (tg_next(&c, &name, &v))`.
 * The text has to be JSON. Of a list names are empty. */
TG_FN tg_cursor tg_over(tg_text value) {
    tg_cursor c = { value.at, value.at + value.len };
    tg_blank(&c);
    if (c.at < c.end && (*c.at == '{' || *c.at == '[')) c.at++; else c.at = c.end;
    return c;
}
TG_FN bool tg_next(tg_cursor *c, tg_text *name, tg_text *value) {
    tg_take(c, ',');
    tg_blank(c);
    if (c->at >= c->end || *c->at == '}' || *c->at == ']') return false;
    tg_cursor before = *c;
    *name = TG("");
    if (*c->at == '"' && (!tg_quoted(c, name) || !tg_take(c, ':'))) { *c = before; *name = TG(""); }
    return tg_value(c, value, 0);
}
/* The value at a path, `battery.volts`; of several with one name the last. False: it is not there. */
TG_FN bool tg_find(tg_text json, const char *path, tg_text *found) {
    tg_text name, value, part = { path, strcspn(path, ".") };
    bool is_there = false;
    tg_cursor c = { json.at, json.at + json.len };
    tg_blank(&c);
    if (c.at >= c.end || *c.at != '{') return false;
    for (c = tg_over(json); tg_next(&c, &name, &value);)
        if (tg_is(name, part)) { *found = value; is_there = true; }
    if (!is_there || !path[part.len]) return is_there;
    return tg_find(*found, path + part.len + 1, found);
}
TG_FN bool tg_to_number(tg_text raw, double *number) {
    tg_cursor c = { raw.at, raw.at + raw.len };
    if (raw.len == 0 || !tg_numeral(&c) || c.at != c.end) return false;
    *number = strtod(tg_textf("%.*s", TG_ARG(raw)).at, NULL);
    return true;
}
/* The text that a JSON string means. */
TG_FN bool tg_to_text(tg_text raw, tg_text *text) {
    if (raw.len < 2 || raw.at[0] != '"') return false;
    char *to = (char *)tg_alloc(raw.len), *begin = to;
    for (const char *at = raw.at + 1, *end = raw.at + raw.len - 1; at < end; at++) {
        if (*at != '\\') { *to++ = *at; continue; }
        at++;
        const char *plain = strchr("b\bf\fn\nr\rt\t", *at);
        if (*at != 'u') { *to++ = plain && (*at >= 'b') ? plain[1] : *at; continue; }
        uint32_t code = (uint32_t)tg_hex(at + 1);
        at += 4;
        if (code >= 0xd800 && code < 0xdc00 && end - at > 6 && at[1] == '\\' && at[2] == 'u') {
            int low = tg_hex(at + 3);
            if (low >= 0xdc00 && low < 0xe000) { code = 0x10000 + ((code - 0xd800) << 10) + ((uint32_t)low - 0xdc00); at += 6; }
        }
        if (code >= 0xd800 && code < 0xe000) code = 0xfffd;
        if (code < 0x80) *to++ = (char)code;
        else if (code < 0x800) { *to++ = (char)(0xc0 | code >> 6); *to++ = (char)(0x80 | (code & 63)); }
        else if (code < 0x10000) { *to++ = (char)(0xe0 | code >> 12); *to++ = (char)(0x80 | (code >> 6 & 63)); *to++ = (char)(0x80 | (code & 63)); }
        else { *to++ = (char)(0xf0 | code >> 18); *to++ = (char)(0x80 | (code >> 12 & 63)); *to++ = (char)(0x80 | (code >> 6 & 63)); *to++ = (char)(0x80 | (code & 63)); }
    }
    text->at = begin; text->len = (size_t)(to - begin);
    return true;
}
/* Text as a JSON string, quotes included. */
TG_FN tg_text tg_quote(tg_text text) {
    char *to = (char *)tg_alloc(text.len * 6 + 2), *begin = to;
    *to++ = '"';
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if (c == '"' || c == '\\') { *to++ = '\\'; *to++ = (char)c; }
        else if (c < 0x20) to += snprintf(to, 7, "\\u%04x", c);
        else *to++ = (char)c;
    }
    *to++ = '"';
    tg_text quoted = { begin, (size_t)(to - begin) };
    return quoted;
}

/* Fields of the message at hand. Where one is not as it has to be the message is rejected, in words, and the answer is false. */
TG_FN bool tg_object(const tg_message *m) {
    if (tg_checked) return !tg_rejected;
    tg_checked = true;
    tg_cursor c = { m->payload.at, m->payload.at + m->payload.len };
    tg_blank(&c);
    if (m->payload.len == 0 && m->marks & TG_RETAIN) { tg_pass(); tg_rejected = true; return false; } /* a delete goes on */
    if (c.at < c.end && *c.at == '{' && tg_json(m->payload)) return true;
    tg_reject("payload is not a JSON object");
    return false;
}
TG_FN bool tg_field(const tg_message *m, const char *path, tg_text *raw) {
    if (!tg_object(m)) return false;
    if (tg_find(m->payload, path, raw) && !tg_is(*raw, TG("null"))) return true;
    tg_reject_as(tg_textf("field `%s` is missing", path), TG_EXCUSED);
    return false;
}
TG_FN bool tg_number(const tg_message *m, const char *path, double *number) {
    tg_text raw;
    if (!tg_field(m, path, &raw)) return false;
    if (tg_to_number(raw, number)) return true;
    tg_rejectf("field `%s` is not a number: `%.*s`", path, raw.len > 60 ? 60 : (int)raw.len, raw.at);
    return false;
}

/* ── settings: each answers NULL, or what is wrong, so that they go in one line: `return a ? a : b` ── */
TG_FN const char *tg_setting_number(tg_text settings, const char *name, double *number) {
    tg_text raw;
    if (!tg_find(settings, name, &raw)) return tg_textf("`%s` is missing", name).at;
    return tg_to_number(raw, number) ? NULL : tg_textf("`%s` is not a number: %.*s", name, TG_ARG(raw)).at;
}
TG_FN const char *tg_setting_text(tg_text settings, const char *name, tg_text *text) {
    tg_text raw, found;
    if (!tg_find(settings, name, &raw)) return tg_textf("`%s` is missing", name).at;
    if (!tg_to_text(raw, &found)) return tg_textf("`%s` is not text: %.*s", name, TG_ARG(raw)).at;
    text->at = strndup(found.at, found.len); text->len = found.len; /* it outlives the call */
    return NULL;
}
/* A time as in "10m"; the rule gets microseconds. */
TG_FN const char *tg_setting_duration(tg_text settings, const char *name, uint64_t *us) {
    tg_text text = { NULL, 0 };
    const char *wrong = tg_setting_text(settings, name, &text);
    if (wrong) return wrong;
    char *unit;
    double number = strtod(text.at, &unit);
    double each = !strcmp(unit, "ms") ? 1e3 : !strcmp(unit, "s") ? 1e6 : !strcmp(unit, "m") ? 6e7 : !strcmp(unit, "h") ? 3.6e9
        : !strcmp(unit, "d") ? 8.64e10 : 0;
    if (each == 0 || unit == text.at || !(number >= 0)) return tg_textf("`%s` is not a time as in \"10m\": %s", name, text.at).at;
    *us = (uint64_t)(number * each + 0.5);
    return NULL;
}
/* There are none but these; the last name is NULL. */
TG_FN const char *tg_only(tg_text settings, ...) {
    tg_text name, value;
    for (tg_cursor c = tg_over(settings); tg_next(&c, &name, &value);) {
        va_list known;
        va_start(known, settings);
        const char *one;
        while ((one = va_arg(known, const char *)) && !tg_is(name, tg_str(one))) {}
        va_end(known);
        if (!one) return tg_textf("unknown setting `%.*s`", TG_ARG(name)).at;
    }
    return NULL;
}

/* ── what the author writes ── */
/* Reads the settings, JSON; answers NULL, or what is wrong with them. */
const char *tg_configure(tg_text settings);
void tg_process(const tg_message *message);
#ifdef TG_TIMER
void tg_tick(void);
#endif

static uint64_t tg_tick_every_us;
/* Said in `tg_configure`. */
TG_FN void tg_tick_every(uint64_t us) { tg_tick_every_us = us; }

#ifndef TG_STATE_VERSION
#define TG_STATE_VERSION 1
#endif
#ifdef TG_ONE_LANE
#define TG_LANES 0x80000000u
#else
#define TG_LANES 0u
#endif
static const char *const tg_ports[] = {
#ifdef TG_PORTS
    TG_PORTS,
#endif
    NULL
};

typedef struct { uint32_t stride; void *words; size_t word_count; void *data; size_t data_len; } tg_output;
TG_FN tg_output *tg_done(void) {
    static tg_output output;
    output.stride = 8;
    output.words = tg_words.at; output.word_count = tg_words.len / 4;
    output.data = tg_data.at; output.data_len = tg_data.len;
    return &output;
}
TG_FN void tg_begin(uint32_t input, const tg_message *message) {
    tg_input = input; tg_at_hand = message; tg_rejected = tg_checked = false;
    tg_kept_words = tg_words.len; tg_kept_data = tg_data.len;
}
TG_EXPORT("tidegate:plugin/transform@0.1.0#process")
tg_output *tg_process_batch(uint64_t now_us, uint32_t stride, const uint32_t *words, size_t count, const char *data, size_t data_len) {
    (void)now_us; (void)data_len;
    tg_words.len = tg_data.len = 0;
    const char *keys = data;
    uint32_t input = 0;
    for (const uint32_t *w = words; w < words + count; w += stride) keys += w[0] + w[1] + w[2];
    for (const uint32_t *w = words; w < words + count; w += stride, input++) {
        tg_message m = { { data, w[0] }, { data + (w[3] & 0xffff), w[3] >> 16 }, { data + w[0], w[1] }, { data + w[0] + w[1], w[2] },
                         (uint64_t)w[5] << 32 | w[4], stride > 8 ? (uint64_t)w[8] << 32 | w[7] : 0, w[6] };
        if (stride > 9 && w[9] > 0) { m.key.at = keys; m.key.len = w[9]; keys += w[9]; }
        tg_begin(input, &m);
        tg_process(&m);
        data += w[0] + w[1] + w[2];
    }
    return tg_done();
}
TG_EXPORT("cabi_post_tidegate:plugin/transform@0.1.0#process") void tg_process_end(void *output) { (void)output; tg_free_all(); }

typedef struct {
    uint8_t is_err;
    union {
        struct { const tg_text *ports; size_t port_count; uint64_t tick_every_us; uint32_t state_version; } ok;
        tg_text err;
    } u;
} tg_configured;
TG_EXPORT("tidegate:plugin/transform@0.1.0#configure") tg_configured *tg_configure_plugin(const char *at, size_t len) {
    static tg_configured answer;
    static tg_text ports[sizeof tg_ports / sizeof *tg_ports];
    tg_text settings = { at, len };
    const char *why = tg_configure(settings);
    answer.is_err = why != NULL;
    if (why) { answer.u.err = tg_str(why); return &answer; }
    size_t count = 0;
    for (; tg_ports[count]; count++) ports[count] = tg_str(tg_ports[count]);
    answer.u.ok.ports = ports; answer.u.ok.port_count = count;
    answer.u.ok.tick_every_us = tg_tick_every_us; answer.u.ok.state_version = TG_STATE_VERSION | TG_LANES;
    return &answer;
}
TG_EXPORT("cabi_post_tidegate:plugin/transform@0.1.0#configure") void tg_configure_end(void *answer) { (void)answer; tg_free_all(); }

#ifdef TG_TIMER
TG_EXPORT("tidegate:plugin/timer@0.1.0#tick") tg_output *tg_timer_tick(uint64_t now_us) {
    (void)now_us;
    tg_words.len = tg_data.len = 0;
    tg_begin(UINT32_MAX, NULL);
    tg_tick();
    return tg_done();
}
TG_EXPORT("cabi_post_tidegate:plugin/timer@0.1.0#tick") void tg_tick_end(void *output) { (void)output; tg_free_all(); }
#endif

#ifdef TG_STATE
/* ── state: a struct TG_STATE by key, saved as its bytes ── */
#ifndef TG_MOST_KEYS
#define TG_MOST_KEYS 20000
#endif
typedef TG_STATE tg_kept;
typedef struct { char *key; uint32_t key_len; bool is_there; uint64_t changed, used; tg_kept value; } tg_slot;
static tg_slot *tg_slots;      /* in the order they came; those that are gone stay until that was saved */
static uint32_t *tg_index;     /* number of a slot and one, by the hash of its key */
static size_t tg_slot_count, tg_slot_room, tg_index_room, tg_key_count;
static uint64_t tg_revision = 1, tg_saved, tg_saving, tg_uses;
TG_FN size_t tg_place(tg_text key) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < key.len; i++) hash = (hash ^ (uint8_t)key.at[i]) * 16777619u;
    for (size_t i = hash % tg_index_room;; i = (i + 1) % tg_index_room) {
        if (!tg_index[i]) return i;
        tg_slot *s = &tg_slots[tg_index[i] - 1];
        if (s->key_len == key.len && memcmp(s->key, key.at, key.len) == 0) return i;
    }
}
TG_FN void tg_index_anew(size_t room) {
    free(tg_index);
    tg_index = (uint32_t *)calloc(room, sizeof *tg_index);
    if (!tg_index) abort();
    tg_index_room = room;
    for (size_t i = 0; i < tg_slot_count; i++) {
        tg_text key = { tg_slots[i].key, tg_slots[i].key_len };
        tg_index[tg_place(key)] = (uint32_t)i + 1;
    }
}
/* The key's value, NULL where there is none; to look at. */
TG_FN const tg_kept *tg_look(tg_text key) {
    if (!tg_index_room) return NULL;
    uint32_t at = tg_index[tg_place(key)];
    return at && tg_slots[at - 1].is_there ? &tg_slots[at - 1].value : NULL;
}
TG_FN void tg_gone(tg_slot *s) { if (s->is_there) { s->is_there = false; s->changed = tg_revision; tg_key_count--; } }
TG_FN void tg_forget(tg_text key) {
    if (tg_index_room && tg_index[tg_place(key)]) tg_gone(&tg_slots[tg_index[tg_place(key)] - 1]);
}
TG_FN void tg_make_room(void) {
    if (tg_key_count < TG_MOST_KEYS) return;
    tg_slot *quietest = NULL;
    for (tg_slot *s = tg_slots; s < tg_slots + tg_slot_count; s++)
        if (s->is_there && (!quietest || s->used < quietest->used)) quietest = s;
    tg_gone(quietest);
    tg_count("keys_forgotten", 1);
}
TG_FN tg_slot *tg_slot_of(tg_text key) {
    if ((tg_slot_count + 1) * 4 > tg_index_room * 3) tg_index_anew(tg_index_room ? tg_index_room * 2 : 64);
    size_t at = tg_place(key);
    if (!tg_index[at]) {
        if (tg_slot_count == tg_slot_room) {
            tg_slot_room = tg_slot_room ? tg_slot_room * 2 : 64;
            tg_slots = (tg_slot *)realloc(tg_slots, tg_slot_room * sizeof *tg_slots);
            if (!tg_slots) abort();
        }
        tg_slot *fresh = &tg_slots[tg_slot_count++];
        memset(fresh, 0, sizeof *fresh);
        fresh->key = (char *)malloc(key.len + 1);
        if (!fresh->key) abort();
        memcpy(fresh->key, key.at, key.len);
        fresh->key_len = (uint32_t)key.len;
        tg_index[at] = (uint32_t)tg_slot_count;
    }
    return &tg_slots[tg_index[at] - 1];
}
/* The key's value, zeroes where it is new; it is saved with the next checkpoint. Good until the next call of this. */
TG_FN tg_kept *tg_state(tg_text key) {
    tg_slot *s = tg_slot_of(key);
    if (!s->is_there) {
        size_t number = (size_t)(s - tg_slots);
        tg_make_room();
        s = &tg_slots[number];
        memset(&s->value, 0, sizeof s->value);
        s->is_there = true;
        tg_key_count++;
    }
    s->changed = tg_revision; s->used = ++tg_uses;
    return &s->value;
}
/* Goes over all keys: `size_t at = 0; while (tg_each(&at, &key, &value))`; a value that is changed wants `tg_state(key)`. */
TG_FN bool tg_each(size_t *at, tg_text *key, const tg_kept **value) {
    for (; *at < tg_slot_count; (*at)++) {
        tg_slot *s = &tg_slots[*at];
        if (!s->is_there) continue;
        key->at = s->key; key->len = s->key_len; *value = &s->value;
        (*at)++;
        return true;
    }
    return false;
}
TG_FN void tg_drop_the_gone(void) {
    size_t kept = 0;
    for (size_t i = 0; i < tg_slot_count; i++) {
        if (!tg_slots[i].is_there && tg_slots[i].changed <= tg_saved) { free(tg_slots[i].key); continue; }
        tg_slots[kept++] = tg_slots[i];
    }
    bool is_other = kept != tg_slot_count;
    tg_slot_count = kept;
    if (is_other) tg_index_anew(tg_index_room);
}
typedef struct { uint8_t has_next; uint64_t next; void *words; size_t word_count; void *data; size_t data_len; } tg_page;
TG_EXPORT("tidegate:plugin/state@0.1.0#save") tg_page *tg_save(bool changed_only, uint64_t cursor) {
    static tg_page page;
    tg_words.len = tg_data.len = 0;
    if (cursor == 0) { tg_drop_the_gone(); tg_saving = tg_revision++; }
    size_t i = (size_t)cursor;
    for (; i < tg_slot_count && tg_data.len < TG_BLOCK; i++) {
        tg_slot *s = &tg_slots[i];
        if (changed_only ? s->changed <= tg_saved : !s->is_there) continue;
        uint32_t entry[2] = { s->key_len, s->is_there ? (uint32_t)sizeof s->value : UINT32_MAX };
        tg_add(&tg_words, entry, sizeof entry);
        tg_add(&tg_data, s->key, s->key_len);
        if (s->is_there) tg_add(&tg_data, &s->value, sizeof s->value);
    }
    page.has_next = i < tg_slot_count; page.next = i;
    if (!page.has_next) tg_saved = tg_saving;
    page.words = tg_words.at; page.word_count = tg_words.len / 4; page.data = tg_data.at; page.data_len = tg_data.len;
    return &page;
}
TG_EXPORT("cabi_post_tidegate:plugin/state@0.1.0#save") void tg_save_end(void *page) { (void)page; tg_free_all(); }
typedef struct { uint8_t is_err; tg_text err; } tg_restored;
TG_EXPORT("tidegate:plugin/state@0.1.0#restore")
tg_restored *tg_restore(uint32_t version, uint32_t has_next, uint64_t next, const uint32_t *words, size_t count, const char *data, size_t len) {
    static tg_restored answer;
    (void)has_next; (void)next; (void)len;
    answer.is_err = 1;
    if (version != TG_STATE_VERSION) {
        answer.err = tg_textf("state of version %u cannot be read by version %u", (unsigned)version, (unsigned)TG_STATE_VERSION);
        return &answer;
    }
    for (size_t i = 0; i + 1 < count; i += 2) {
        tg_text key = { data, words[i] };
        data += words[i];
        if (words[i + 1] == UINT32_MAX) { tg_forget(key); continue; }
        if (words[i + 1] != sizeof(tg_kept)) { answer.err = TG("its values have another size: raise TG_STATE_VERSION"); return &answer; }
        memcpy(tg_state(key), data, sizeof(tg_kept));
        tg_slot_of(key)->changed = 0;
        data += words[i + 1];
    }
    answer.is_err = 0;
    return &answer;
}
TG_EXPORT("cabi_post_tidegate:plugin/state@0.1.0#restore") void tg_restore_end(void *answer) { (void)answer; tg_free_all(); }
#endif
#ifdef __cplusplus
}
#endif
#endif
