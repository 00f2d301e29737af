// The sketch as a program: what the Arduino IDE adds to an .ino.
#include "Arduino.h"
#include SKETCH

int main() {
  setup();
  for (;;) loop();
}
