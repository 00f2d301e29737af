/* One client of libca, for measuring servers; each command prints one line of JSON.
 *
 *   libca_bench connect PATTERN N            search and connect N channels
 *   libca_bench gets    PATTERN N SECONDS    N gets in flight, again and again
 *   libca_bench churn   PV SECONDS           subscribe, first event, unsubscribe
 *   libca_bench monitor PATTERN N SECONDS    updates, their age, and what was lost
 *   libca_bench array   PV SECONDS           updates of an array, and their age
 *
 * PATTERN holds one %d, counted from 0. Scalars must count up by 1 at each post and be stamped then. Lost is what the
 * server had posted (as a get at the end tells) and did not deliver within half a second after that get.
 */
#include <cadef.h>
#include <epicsTime.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 60.0 /* s: to connect, and for an answer */
#define GRACE 0.5     /* s: how late an update may come and still be delivered */
#define MOST_AGES 4000000

static double clock_of(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static double now(void) { return clock_of(CLOCK_MONOTONIC); }

static double age_of(const epicsTimeStamp *stamp) {
    return clock_of(CLOCK_REALTIME) - (stamp->secPastEpoch + 631152000.0 + 1e-9 * stamp->nsec);
}

static void die(const char *what) {
    fprintf(stderr, "libca_bench: %s\n", what);
    _exit(1);
}

static volatile int connected;

static void on_connection(struct connection_handler_args args) {
    __sync_fetch_and_add(&connected, args.op == CA_OP_CONN_UP ? 1 : -1);
}

/* Connect channels; gives the seconds that it took. */
static double connect_all(const char *pattern, int n, chid *channels) {
    char name[200];
    double began = now();
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, pattern, i);
        SEVCHK(ca_create_channel(name, on_connection, NULL, 10, &channels[i]), name);
    }
    ca_flush_io();
    while (connected < n) {
        if (now() - began > PATIENCE) die("not all channels connected");
        usleep(200);
    }
    return now() - began;
}

struct counter {
    double first, last;
    long seen;
};

static volatile int counting, ageing;
static float *ages;
static long n_ages;
static volatile long n_events;

static void note_age(const epicsTimeStamp *stamp) {
    if (ageing) {
        n_events++;
        if (n_ages < MOST_AGES) ages[n_ages++] = age_of(stamp);
    }
}

static void on_count(struct event_handler_args args) {
    if (args.status != ECA_NORMAL || !counting) return;
    const struct dbr_time_double *event = args.dbr;
    struct counter *counter = args.usr;
    if (!counter->seen)
        counter->first = event->value;
    else if (event->value <= counter->last)
        return; /* the first event of a subscription may come twice */
    counter->last = event->value;
    counter->seen++;
    note_age(&event->stamp);
}

static volatile long n_arrays;

static void on_array(struct event_handler_args args) {
    if (args.status != ECA_NORMAL) return;
    n_arrays++;
    note_age(&((const struct dbr_time_double *)args.dbr)->stamp);
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double quantile(double q) { return n_ages ? 1e3 * ages[(long)(q * (n_ages - 1))] : 0; }

static void monitor(const char *pattern, int n, double seconds) {
    chid *channels = calloc(n, sizeof *channels);
    struct counter *counters = calloc(n, sizeof *counters);
    struct dbr_time_double *posted = calloc(n, sizeof *posted);
    connect_all(pattern, n, channels);
    counting = 1;
    for (int i = 0; i < n; i++)
        ca_create_subscription(DBR_TIME_DOUBLE, 1, channels[i], DBE_VALUE | DBE_ALARM, on_count, &counters[i], NULL);
    ca_flush_io();
    usleep(300000);
    ageing = 1;
    double began = now();
    while (now() - began < seconds) usleep(1000);
    ageing = 0;
    double took = now() - began;
    for (int i = 0; i < n; i++) ca_get(DBR_TIME_DOUBLE, channels[i], &posted[i]);
    int answered = ca_pend_io(PATIENCE) == ECA_NORMAL;
    double asked = now();
    for (int late = n; late && now() - asked < GRACE;) {
        usleep(1000);
        late = 0;
        for (int i = 0; i < n; i++) late += counters[i].last < posted[i].value;
    }
    counting = 0;
    usleep(1000);
    double all = 0, lost = 0;
    for (int i = 0; i < n; i++) {
        double last = counters[i].last > posted[i].value ? counters[i].last : posted[i].value;
        all += last - counters[i].first + 1;
        lost += last - counters[i].first + 1 - counters[i].seen;
    }
    qsort(ages, n_ages, sizeof *ages, by_size);
    printf("{\"per_s\": %.1f, \"posted\": %.0f, \"lost\": %.0f, \"answered\": %d, \"age_p50_ms\": %.3f, "
           "\"age_p99_ms\": %.3f, \"age_max_ms\": %.3f}\n",
           n_events / took, all, lost, answered, quantile(0.5), quantile(0.99), quantile(1));
}

static void array(const char *name, double seconds) {
    chid channel;
    connect_all(name, 1, &channel);
    ca_create_subscription(DBR_TIME_DOUBLE, ca_element_count(channel), channel, DBE_VALUE, on_array, NULL, NULL);
    ca_flush_io();
    for (double began = now(); !n_arrays && now() - began < PATIENCE;) usleep(1000);
    usleep(500000);
    ageing = 1;
    double began = now();
    while (now() - began < seconds) usleep(1000);
    ageing = 0;
    double took = now() - began;
    qsort(ages, n_ages, sizeof *ages, by_size);
    printf("{\"per_s\": %.2f, \"age_p50_ms\": %.3f, \"age_max_ms\": %.3f}\n", n_events / took, quantile(0.5),
           quantile(1));
}

static void gets(const char *pattern, int n, double seconds) {
    chid *channels = calloc(n, sizeof *channels);
    struct dbr_time_double *values = calloc(n, sizeof *values);
    long done = 0;
    connect_all(pattern, n, channels);
    double began = now();
    do {
        for (int i = 0; i < n; i++) ca_get(DBR_TIME_DOUBLE, channels[i], &values[i]);
        if (ca_pend_io(PATIENCE) != ECA_NORMAL) die("a get was not answered");
        done += n;
    } while (now() - began < seconds);
    printf("{\"per_s\": %.1f}\n", done / (now() - began));
}

static void churn(const char *name, double seconds) {
    chid channel;
    long done = 0;
    connect_all(name, 1, &channel);
    double began = now();
    do {
        evid event;
        n_arrays = 0;
        ca_create_subscription(DBR_TIME_DOUBLE, 1, channel, DBE_VALUE, on_array, NULL, &event);
        ca_flush_io();
        for (double asked = now(); !n_arrays;) {
            if (now() - asked > PATIENCE) die("no first event");
            usleep(20);
        }
        ca_clear_subscription(event);
        done++;
    } while (now() - began < seconds);
    printf("{\"per_s\": %.1f}\n", done / (now() - began));
}

int main(int argc, char **argv) {
    if (argc < 4) die("see the head of libca_bench.c");
    const char *command = argv[1], *name = argv[2];
    int n = atoi(argv[3]);
    double seconds = atof(argv[argc - 1]);
    ages = malloc(MOST_AGES * sizeof *ages);
    SEVCHK(ca_context_create(ca_enable_preemptive_callback), "context");
    if (!strcmp(command, "connect"))
        printf("{\"seconds\": %.4f}\n", connect_all(name, n, calloc(n, sizeof(chid))));
    else if (!strcmp(command, "gets"))
        gets(name, n, seconds);
    else if (!strcmp(command, "churn"))
        churn(name, seconds);
    else if (!strcmp(command, "monitor"))
        monitor(name, n, seconds);
    else if (!strcmp(command, "array"))
        array(name, seconds);
    else
        die("unknown command");
    fflush(stdout);
    _exit(0); /* libca takes its time to say goodbye */
}
