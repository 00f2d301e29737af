#include "line.h"

uint16_t line_crc(const char *text, size_t length)
{
    uint16_t crc = 0xFFFF;
    size_t at;
    int bit;

    for (at = 0; at < length; at++) {
        crc ^= (uint16_t)((uint16_t)(unsigned char)text[at] << 8);
        for (bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

/* A line being written; `full` once something did not fit. */
struct writer {
    char *to;
    size_t size, used;
    int full;
};

static void put(struct writer *w, char c)
{
    if (w->used + 1 < w->size) /* the final 0 has its place */
        w->to[w->used++] = c;
    else
        w->full = 1;
}

static void text(struct writer *w, const char *s)
{
    while (*s)
        put(w, *s++);
}

static void number(struct writer *w, uint32_t value)
{
    char digits[10];
    int count = 0;

    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (count)
        put(w, digits[--count]);
}

static void field(struct writer *w, uint32_t value)
{
    put(w, ',');
    number(w, value);
}

static size_t finish(struct writer *w)
{
    static const char hex[] = "0123456789ABCDEF";
    uint16_t crc = line_crc(w->to, w->used);
    int shift;

    put(w, '*');
    for (shift = 12; shift >= 0; shift -= 4)
        put(w, hex[crc >> shift & 15]);
    text(w, "\r\n");
    if (w->size)
        w->to[w->full ? 0 : w->used] = '\0';
    return w->full ? 0 : w->used;
}

size_t line_data(char *to, size_t size, uint16_t sequence, uint32_t uptime, const struct line_reading *reading)
{
    struct writer w = {to, size, 0, 0};

    put(&w, 'D');
    field(&w, sequence);
    field(&w, uptime);
    field(&w, reading->centikelvin);
    field(&w, reading->pascal);
    field(&w, reading->millipercent);
    field(&w, reading->ohm);
    return finish(&w);
}

size_t line_identity(char *to, size_t size, uint32_t uptime)
{
    struct writer w = {to, size, 0, 0};

    text(&w, "I," LINE_NAME "," LINE_VERSION);
    field(&w, uptime);
    return finish(&w);
}

size_t line_error(char *to, size_t size, enum line_trouble trouble)
{
    struct writer w = {to, size, 0, 0};

    put(&w, 'E');
    field(&w, (uint32_t)trouble);
    return finish(&w);
}

enum line_command line_command(int byte)
{
    switch (byte) {
    case 'R':
        return LINE_READ;
    case 'I':
        return LINE_IDENTIFY;
    default:
        return LINE_NOTHING;
    }
}

uint32_t line_uptime(struct line_clock *clock, uint32_t now)
{
    uint32_t passed = now - clock->last; /* right across the overflow, too */

    clock->last = now;
    clock->seconds += passed / 1000;
    clock->rest += passed % 1000;
    if (clock->rest >= 1000) {
        clock->rest -= 1000;
        clock->seconds++;
    }
    return clock->seconds;
}

uint32_t line_fixed(float value, float scale)
{
    float scaled = value * scale + 0.5f;

    if (!(scaled >= 0.0f && scaled < 4294967040.0f)) /* a NaN is none of them */
        return UINT32_MAX;
    return (uint32_t)scaled;
}
