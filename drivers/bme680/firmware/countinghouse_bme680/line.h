/* The lines of our gas board: plain C, no Arduino in it, so that it is compiled and tested on any computer.
 *
 * See ../README.md for what the lines mean. Nothing here allocates, and nothing writes beyond `size`.
 */
#ifndef COUNTINGHOUSE_LINE_H
#define COUNTINGHOUSE_LINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LINE_NAME "countinghouse-bme680"
#define LINE_VERSION "1.0"
#define LINE_SIZE 80 /* bytes that hold any line, its CR LF and its final 0 */

/* What the sensor said. */
struct line_reading {
    uint32_t centikelvin;   /* 0.01 K */
    uint32_t pascal;        /* Pa */
    uint32_t millipercent;  /* 0.001 % relative humidity */
    uint32_t ohm;           /* gas resistance; 0 = the heater was not stable */
};

enum line_trouble { LINE_NOT_FOUND = 1, LINE_BEGIN_FAILED = 2, LINE_READING_FAILED = 3 };
enum line_command { LINE_NOTHING, LINE_READ, LINE_IDENTIFY };

/* Seconds since the reset. millis() begins again at 0 after 49.7 days; this goes on for 136 years. */
struct line_clock {
    uint32_t last;    /* millis() at the last call */
    uint32_t rest;    /* ms that are no whole second yet */
    uint32_t seconds;
};

/* CRC-16/CCITT-FALSE: polynomial 0x1021, first 0xFFFF; of "123456789" it is 0x29B1. */
uint16_t line_crc(const char *text, size_t length);

/* Write a line, with its checksum and CR LF and a final 0. They give its length without the 0; 0 if it does not fit. */
size_t line_data(char *to, size_t size, uint16_t sequence, uint32_t uptime, const struct line_reading *reading);
size_t line_identity(char *to, size_t size, uint32_t uptime);
size_t line_error(char *to, size_t size, enum line_trouble trouble);

/* Say what a byte from the computer asks for. */
enum line_command line_command(int byte);

/* Bring the clock up to `now`, which is millis(); to be called at least once in 49 days. Gives the seconds. */
uint32_t line_uptime(struct line_clock *clock, uint32_t now);

/* Round a float to units of 1/`scale`; what is no number, negative or too large gives 4294967295, which no range takes. */
uint32_t line_fixed(float value, float scale);

#ifdef __cplusplus
}
#endif

#endif
