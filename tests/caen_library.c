/* A stand-in for CAEN's libcaenhvwrapper.so for N1470s on one line: every call is asked of the simulated supply over TCP.
 *
 * The argument of InitSystem is host:port. Faults, set by stub_set or by the environment (STUB_EVERY=3):
 *   EVERY   every so many calls of Get/SetChParam and Get/SetBdParam fail with TIMEERR
 *   TYPES   numeric parameters are said to be on/off ones
 *   DOWN    everything fails with COMMUNICATIONERROR
 *   HANG    so many seconds pass before the next read of a channel parameter returns
 *   BARE    the board has no parameters
 *   BOARDS  so many slots, 1 unless set; one that does not answer is empty
 *   NOLOW   IMonL and IMonH both read what is live
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
enum { OK = 0, WRITEERR = 2, READERR = 3, TIMEERR = 4, OUTOFRANGE = 10, PARAMPROPNOTFOUND = 21, PARAMNOTFOUND = 22,
       NOTAVAILABLE = 27, COMMUNICATIONERROR = 29, NOTCONNECTED = 0x1002 };
enum { NUMERIC = 0, ONOFF = 1, CHSTATUS = 2, BDSTATUS = 3, CMD = 7 };

typedef unsigned short ushort;
typedef unsigned char uchar;

struct parameter { const char *name, *native; int type, mode, unit, exp; const char *low, *high, *digits, *off, *on; };

static const struct parameter channel_parameters[] = {
    {"VSet", "VSET", NUMERIC, 2, 2, 0, "VMIN", "VMAX", "VDEC", 0, 0},
    {"ISet", "ISET", NUMERIC, 2, 1, -6, "IMIN", "IMAX", "ISDEC", 0, 0},
    {"MaxV", "MAXV", NUMERIC, 2, 2, 0, "MVMIN", "MVMAX", "MVDEC", 0, 0},
    {"RUp", "RUP", NUMERIC, 2, 7, 0, "RUPMIN", "RUPMAX", "RUPDEC", 0, 0},
    {"RDwn", "RDW", NUMERIC, 2, 7, 0, "RDWMIN", "RDWMAX", "RDWDEC", 0, 0},
    {"Trip", "TRIP", NUMERIC, 2, 8, 0, "TRIPMIN", "TRIPMAX", "TRIPDEC", 0, 0},
    {"VMon", "VMON", NUMERIC, 0, 2, 0, "VMIN", "VMAX", "VDEC", 0, 0},
    {"IMonL", "IMON", NUMERIC, 0, 1, -6, "IMIN", "IMAX", "3", 0, 0},
    {"IMonH", "IMON", NUMERIC, 0, 1, -6, "IMIN", "IMAX", "2", 0, 0},
    {"Pw", "STAT", ONOFF, 2, 0, 0, 0, 0, 0, "Off", "On"},
    {"PDwn", "PDWN", ONOFF, 2, 0, 0, 0, 0, 0, "Kill", "Ramp"},
    {"ImonRange", "IMRANGE", ONOFF, 2, 0, 0, 0, 0, 0, "High", "Low"},
    {"Polarity", "POL", ONOFF, 0, 0, 0, 0, 0, 0, "Neg", "Pos"},
    {"ChStatus", "STAT", CHSTATUS, 0, 0, 0, 0, 0, 0, 0, 0},
};
static const struct parameter board_parameters[] = {
    {"BdIlk", "BDILK", ONOFF, 0, 0, 0, 0, 0, 0, "No", "Yes"},
    {"BdIlkM", "BDILKM", ONOFF, 2, 0, 0, 0, 0, 0, "Closed", "Open"},
    {"BdCtr", "BDCTR", ONOFF, 0, 0, 0, 0, 0, 0, "Local", "Remote"},
    {"BdAlarm", "BDALARM", BDSTATUS, 0, 0, 0, 0, 0, 0, 0, 0},
    {"BdClr", "BDCLR", CMD, 1, 0, 0, 0, 0, 0, 0, 0},
};
#define CHANNEL_PARAMETERS (int)(sizeof channel_parameters / sizeof *channel_parameters)
#define BOARD_PARAMETERS (int)(sizeof board_parameters / sizeof *board_parameters)

static int wire = -1, calls;
static struct { const char *name; int value, known; } faults[] = {
    {"EVERY", 0, 0}, {"TYPES", 0, 0}, {"DOWN", 0, 0}, {"HANG", 0, 0}, {"NOLOW", 0, 0}, {"BARE", 0, 0},
    {"BOARDS", 0, 0}};
enum { EVERY, TYPES, DOWN, HANG, NOLOW, BARE, BOARDS };

static int fault(int which)
{
    if (!faults[which].known) {
        char name[32];
        snprintf(name, sizeof name, "STUB_%s", faults[which].name);
        faults[which].value = getenv(name) ? atoi(getenv(name)) : 0;
        faults[which].known = 1;
    }
    return faults[which].value;
}

EXPORT void stub_set(const char *name, int value)
{
    for (unsigned n = 0; n < sizeof faults / sizeof *faults; n++)
        if (!strcmp(faults[n].name, name)) { faults[n].value = value; faults[n].known = 1; }
}

/* Ask the supply; the text behind VAL: is in value. Gives a result code of the library. */
static int ask(int slot, const char *request, char *value, size_t size)
{
    char line[256], reply[512];
    size_t got = 0;
    snprintf(line, sizeof line, "$BD:%02d,%s\r\n", slot, request);
    if (wire < 0) return NOTCONNECTED;
    if (send(wire, line, strlen(line), MSG_NOSIGNAL) < 0) return COMMUNICATIONERROR;
    while (got < sizeof reply - 1) {
        ssize_t n = recv(wire, reply + got, 1, 0);
        if (n == 0) return COMMUNICATIONERROR;
        if (n < 0) return TIMEERR;
        if (reply[got++] == '\n') break;
    }
    reply[got] = 0;
    if (strstr(reply, "VAL:ERR")) return OUTOFRANGE;
    if (strstr(reply, "PAR:ERR")) return PARAMNOTFOUND;
    if (strstr(reply, ":ERR")) return WRITEERR;
    char *begin = strstr(reply, "VAL:");
    if (value) {
        snprintf(value, size, "%s", begin ? begin + 4 : "");
        value[strcspn(value, "\r\n")] = 0;
    }
    return OK;
}

static int monitor(int slot, int channel, const char *native, char *value, size_t size)
{
    char request[80];
    if (channel < 0) snprintf(request, sizeof request, "CMD:MON,PAR:%s", native);
    else snprintf(request, sizeof request, "CMD:MON,CH:%d,PAR:%s", channel, native);
    return ask(slot, request, value, size);
}

static const struct parameter *find(const struct parameter *all, int count, const char *name)
{
    for (int n = 0; n < count; n++)
        if (!strcmp(all[n].name, name)) return all + n;
    return 0;
}

static int spoilt(void)
{
    if (fault(DOWN)) return COMMUNICATIONERROR;
    return fault(EVERY) && ++calls % fault(EVERY) == 0 ? TIMEERR : OK;
}

EXPORT const char *CAENHVLibSwRel(void) { return "6.6.0"; }
EXPORT const char *CAENHV_GetError(int handle) { return handle == 7 ? "as the stub was told" : "no such handle"; }
EXPORT int CAENHV_Free(void *what) { free(what); return OK; }
EXPORT int CAENHV_FreeEventData(void **what) { free(*what); return OK; }

EXPORT int CAENHV_InitSystem(int system, int link, void *argument, const char *user, const char *word, int *handle)
{
    char host[64];
    int port = 0;
    struct sockaddr_in to = {.sin_family = AF_INET};
    struct timeval patience = {.tv_sec = 1};
    (void)user, (void)word;
    *handle = -1;
    if (system != 6 || link != 0 || sscanf(argument, "%63[^:]:%d", host, &port) != 2) return 0x1006;
    to.sin_port = htons(port);
    inet_pton(AF_INET, host, &to.sin_addr);
    wire = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(wire, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(wire, (struct sockaddr *)&to, sizeof to) < 0) { close(wire); wire = -1; return NOTCONNECTED; }
    *handle = 7;
    return OK;
}

EXPORT int CAENHV_DeinitSystem(int handle)
{
    (void)handle;
    if (wire >= 0) close(wire);
    wire = -1;
    return OK;
}

EXPORT int CAENHV_GetCrateMap(int handle, ushort *slots, ushort **channels, char **models, char **words,
                              ushort **serials, uchar **low, uchar **high)
{
    char model[80], count[80], serial[80], firmware[80], *at;
    int code, boards = fault(BOARDS) ? fault(BOARDS) : 1;
    (void)handle;
    if (fault(DOWN)) return COMMUNICATIONERROR;
    *slots = boards;
    *channels = calloc(boards, sizeof **channels);
    at = *models = calloc(boards, sizeof model);
    *words = calloc(boards, sizeof "stub");
    *serials = calloc(boards, sizeof **serials);
    *low = calloc(boards, 1);
    *high = calloc(boards, 1);
    for (int slot = 0; slot < boards; slot++) {
        int major = 0, minor = 0;
        code = monitor(slot, -1, "BDNAME", model, sizeof model);
        if (code == TIMEERR && boards > 1) { at++; continue; }
        if (code || (code = monitor(slot, -1, "BDNCH", count, sizeof count)) ||
            (code = monitor(slot, -1, "BDSNUM", serial, sizeof serial)) ||
            (code = monitor(slot, -1, "BDFREL", firmware, sizeof firmware)))
            return code;
        sscanf(firmware, "%d.%d", &major, &minor);
        (*channels)[slot] = atoi(count);
        at = stpcpy(at, model) + 1;
        (*serials)[slot] = atoi(serial);
        (*low)[slot] = minor;
        (*high)[slot] = major;
    }
    return OK;
}

static int list(const struct parameter *all, int count, char **names)
{
    *names = calloc(count + 1, 10);
    for (int n = 0; n < count; n++) snprintf(*names + 10 * n, 10, "%s", all[n].name);
    return OK;
}

EXPORT int CAENHV_GetChParamInfo(int handle, ushort slot, ushort channel, char **names, int *count)
{
    (void)handle, (void)slot, (void)channel;
    *count = CHANNEL_PARAMETERS;
    return list(channel_parameters, CHANNEL_PARAMETERS, names);
}

EXPORT int CAENHV_GetBdParamInfo(int handle, ushort slot, char **names)
{
    (void)handle, (void)slot;
    return list(board_parameters, fault(BARE) ? 0 : BOARD_PARAMETERS, names);
}

static int property(const struct parameter *one, int slot, int channel, const char *name, void *out)
{
    char value[80];
    int code = OK;
    if (!one) return OK; /* as the real one: it says nothing and leaves the output as it was */
    if (!strcmp(name, "Type")) *(uint32_t *)out = fault(TYPES) && one->type == NUMERIC ? ONOFF : one->type;
    else if (!strcmp(name, "Mode")) *(uint32_t *)out = one->mode;
    else if (!strcmp(name, "Unit")) *(ushort *)out = one->unit;
    else if (!strcmp(name, "Exp")) *(short *)out = one->exp;
    else if (!strcmp(name, "Onstate")) strcpy(out, one->on ? one->on : "On");
    else if (!strcmp(name, "Offstate")) strcpy(out, one->off ? one->off : "Off");
    else if (!strcmp(name, "Decimal") && one->digits && one->digits[0] <= '9') *(short *)out = atoi(one->digits);
    else {
        const char *native = !strcmp(name, "Minval") ? one->low : !strcmp(name, "Maxval") ? one->high
                             : !strcmp(name, "Decimal") ? one->digits : 0;
        if (!native) return PARAMPROPNOTFOUND;
        if ((code = monitor(slot, channel, native, value, sizeof value))) return code;
        if (!strcmp(name, "Decimal")) *(short *)out = atoi(value);
        else *(float *)out = strtod(value, 0);
    }
    return code;
}

EXPORT int CAENHV_GetChParamProp(int handle, ushort slot, ushort channel, const char *par, const char *name, void *out)
{
    (void)handle;
    return property(find(channel_parameters, CHANNEL_PARAMETERS, par), slot, channel, name, out);
}

EXPORT int CAENHV_GetBdParamProp(int handle, ushort slot, const char *par, const char *name, void *out)
{
    (void)handle;
    return property(find(board_parameters, BOARD_PARAMETERS, par), slot, -1, name, out);
}

/* Read one value, as a float or as an int. */
static int read_one(const struct parameter *one, int slot, int channel, float *number, int *word)
{
    char value[80], range[80];
    int code = monitor(slot, channel, one->native, value, sizeof value);
    if (code) return code;
    if (one->type == NUMERIC) {
        *number = strtod(value, 0);
        if (!strcmp(one->native, "IMON") && !fault(NOLOW)) { /* the range that is not in use reads 0 */
            if ((code = monitor(slot, channel, "IMRANGE", range, sizeof range))) return code;
            if (!strcmp(range, "LOW") != !strcmp(one->name, "IMonL")) *number = 0;
        }
        return OK;
    }
    if (!strcmp(one->name, "Pw")) *word = atoi(value) & 1;
    else if (one->type != ONOFF) *word = strtol(value, 0, 10);
    else if (!strcmp(one->native, "POL")) *word = value[0] == '+';
    else *word = one->on && !strcasecmp(value, one->on);
    return OK;
}

EXPORT int CAENHV_GetChParam(int handle, ushort slot, const char *par, ushort count, const ushort *channels, void *out)
{
    const struct parameter *one = find(channel_parameters, CHANNEL_PARAMETERS, par);
    int code = spoilt();
    (void)handle;
    if (fault(HANG)) { int seconds = fault(HANG); stub_set("HANG", 0); sleep(seconds); }
    for (int n = 0; one && n < count && !code; n++)
        code = read_one(one, slot, channels[n], (float *)out + n, (int *)out + n);
    return code;
}

EXPORT int CAENHV_SetChParam(int handle, ushort slot, const char *par, ushort count, const ushort *channels, void *in)
{
    const struct parameter *one = find(channel_parameters, CHANNEL_PARAMETERS, par);
    int code = spoilt();
    (void)handle;
    for (int n = 0; one && n < count && !code; n++) {
        char request[120];
        int word = ((int *)in)[n];
        if (one->type == NUMERIC)
            snprintf(request, sizeof request, "CMD:SET,CH:%d,PAR:%s,VAL:%.3f", channels[n], one->native, ((float *)in)[n]);
        else if (!strcmp(par, "Pw"))
            snprintf(request, sizeof request, "CMD:SET,CH:%d,PAR:%s", channels[n], word ? "ON" : "OFF");
        else {
            char text[16];
            snprintf(text, sizeof text, "%s", word ? one->on : one->off);
            for (char *at = text; *at; at++) *at &= ~32;
            snprintf(request, sizeof request, "CMD:SET,CH:%d,PAR:%s,VAL:%s", channels[n], one->native, text);
        }
        code = ask(slot, request, 0, 0);
    }
    return code;
}

EXPORT int CAENHV_GetBdParam(int handle, ushort count, const ushort *slots, const char *par, void *out)
{
    const struct parameter *one = find(board_parameters, BOARD_PARAMETERS, par);
    float unused;
    int code = spoilt();
    (void)handle;
    for (int n = 0; one && n < count && !code; n++) code = read_one(one, slots[n], -1, &unused, (int *)out + n);
    return code;
}

EXPORT int CAENHV_SetBdParam(int handle, ushort count, const ushort *slots, const char *par, void *in)
{
    int code = spoilt();
    (void)handle, (void)in;
    if (strcmp(par, "BdClr")) return NOTAVAILABLE;
    for (int n = 0; n < count && !code; n++) code = ask(slots[n], "CMD:SET,PAR:BDCLR", 0, 0);
    return code;
}

#define UNUSED(name) EXPORT int CAENHV_##name(void) { return NOTAVAILABLE; }
UNUSED(TestBdPresence) UNUSED(GetSysPropList) UNUSED(GetSysPropInfo) UNUSED(GetSysProp) UNUSED(SetSysProp)
UNUSED(GetChName) UNUSED(SetChName) UNUSED(GetExecCommList) UNUSED(ExecComm) UNUSED(SubscribeSystemParams)
UNUSED(SubscribeBoardParams) UNUSED(SubscribeChannelParams) UNUSED(UnSubscribeSystemParams)
UNUSED(UnSubscribeBoardParams) UNUSED(UnSubscribeChannelParams) UNUSED(GetEventData)
