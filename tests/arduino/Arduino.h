// As much of Arduino as our sketch uses, on this computer: Serial is stdin and stdout.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <poll.h>
#include <time.h>
#include <unistd.h>

inline uint32_t millis() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  static const time_t first = now.tv_sec;
  return static_cast<uint32_t>((now.tv_sec - first) * 1000 + now.tv_nsec / 1000000);
}

struct SerialPort {
  void begin(unsigned long) {}
  int read() {  // -1 when nothing has come, as on the board; waits a little to spare the processor
    pollfd in = {0, POLLIN, 0};
    unsigned char byte;
    if (poll(&in, 1, 5) <= 0) return -1;
    if (::read(0, &byte, 1) != 1) _exit(0);
    return byte;
  }
  size_t write(const uint8_t *data, size_t length) {
    size_t sent = 0;
    while (sent < length) {
      ssize_t now = ::write(1, data + sent, length - sent);
      if (now <= 0) _exit(0);
      sent += static_cast<size_t>(now);
    }
    return sent;
  }
  size_t write(const char *text) { return write(reinterpret_cast<const uint8_t *>(text), strlen(text)); }
};

static SerialPort Serial;
