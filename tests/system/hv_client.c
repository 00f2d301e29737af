/* A shift crew's client of libca: obeys lines of stdin, answers each with a line on stdout.
 *
 *   get PV              "VALUE SEVERITY", as text
 *   put PV VALUE        "STATUS" of the put-callback: 1 is ECA_NORMAL
 *   until PV VALUE      follows the PV until it has the value; "VALUE after N events, M backwards"
 *
 * An answer that begins with "error" says what did not work.
 */
#include <cadef.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 30.0 /* s */

static volatile int done, status;
static volatile double target, last;
static volatile long events, backwards;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static int wait_until_done(void) {
    for (double began = now(); !done && now() - began < PATIENCE;) usleep(1000);
    return done;
}

static void on_put(struct event_handler_args args) {
    status = args.status;
    done = 1;
}

static void on_value(struct event_handler_args args) {
    if (args.status != ECA_NORMAL) return;
    double value = ((const struct dbr_time_double *)args.dbr)->value;
    backwards += events && value < last;
    events++;
    last = value;
    if (fabs(value - target) < 0.05) done = 1;
}

static chid find(const char *name) {
    chid channel;
    if (ca_create_channel(name, NULL, NULL, 10, &channel) != ECA_NORMAL) return NULL;
    return ca_pend_io(PATIENCE) == ECA_NORMAL ? channel : NULL;
}

static void get(chid channel) {
    struct dbr_sts_string got;
    if (ca_get(DBR_STS_STRING, channel, &got) != ECA_NORMAL || ca_pend_io(PATIENCE) != ECA_NORMAL)
        printf("error: no answer\n");
    else
        printf("%s %d\n", got.value, got.severity);
}

static void put(chid channel, const char *value) {
    dbr_string_t text;
    strncpy(text, value, sizeof text - 1);
    text[sizeof text - 1] = 0;
    done = 0;
    if (ca_array_put_callback(DBR_STRING, 1, channel, text, on_put, NULL) != ECA_NORMAL || ca_flush_io() != ECA_NORMAL)
        printf("error: the put could not be sent\n");
    else if (!wait_until_done())
        printf("error: no callback\n");
    else
        printf("%d\n", status);
}

static void until(chid channel, double value) {
    evid event;
    done = 0, events = 0, backwards = 0, target = value;
    ca_create_subscription(DBR_TIME_DOUBLE, 1, channel, DBE_VALUE, on_value, NULL, &event);
    ca_flush_io();
    if (wait_until_done())
        printf("%g after %ld events, %ld backwards\n", last, events, backwards);
    else
        printf("error: it is %g\n", last);
    ca_clear_subscription(event);
}

static void ignore(struct exception_handler_args args) {
    /* a refusal comes as an exception too; the callback's status is what counts here */
}

int main(void) {
    char line[200], command[20], name[100], value[60];
    SEVCHK(ca_context_create(ca_enable_preemptive_callback), "context");
    ca_add_exception_event(ignore, NULL);
    while (fgets(line, sizeof line, stdin)) {
        *value = 0;
        chid channel = sscanf(line, "%19s %99s %59s", command, name, value) >= 2 ? find(name) : NULL;
        if (!channel)
            printf("error: %s is not found\n", name);
        else if (!strcmp(command, "get"))
            get(channel);
        else if (!strcmp(command, "put"))
            put(channel, value);
        else
            until(channel, atof(value));
        fflush(stdout);
        if (channel) ca_clear_channel(channel);
    }
    _exit(0); /* libca takes its time to say goodbye */
}
