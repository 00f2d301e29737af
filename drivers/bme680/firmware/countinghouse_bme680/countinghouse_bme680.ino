// A BME680 on an Arduino as a gas monitor. What is said on the serial line is in line.c, and told in ../README.md.
//
// Library: "Adafruit BME680 Library" (2.0 or newer), by the library manager of the Arduino IDE. Wiring: ../README.md.

#include <Adafruit_BME680.h>
#include <Wire.h>

#include "line.h"

static const uint8_t ADDRESSES[] = {0x77, 0x76};  // of the breakout; with SDO to ground
static const uint16_t HEATER_CELSIUS = 320;
static const uint16_t HEATER_MS = 150;

static Adafruit_BME680 sensor;
static bool found = false;
static uint16_t sequence = 0;
static struct line_clock uptime_clock = {0, 0, 0};
static char line[LINE_SIZE];

static bool find() {
  for (uint8_t address : ADDRESSES) {
    if (sensor.begin(address)) {
      sensor.setTemperatureOversampling(BME680_OS_8X);
      sensor.setPressureOversampling(BME680_OS_4X);
      sensor.setHumidityOversampling(BME680_OS_2X);
      sensor.setIIRFilterSize(BME680_FILTER_SIZE_3);
      sensor.setGasHeater(HEATER_CELSIUS, HEATER_MS);
      return true;
    }
  }
  return false;
}

static void say(size_t length) { Serial.write((const uint8_t *)line, length); }

static void answer() {
  if (!found) found = find();  // it may have been plugged in meanwhile
  if (!found) {
    say(line_error(line, sizeof line, LINE_NOT_FOUND));
    return;
  }
  if (sensor.beginReading() == 0) {
    found = false;
    say(line_error(line, sizeof line, LINE_BEGIN_FAILED));
    return;
  }
  if (!sensor.endReading()) {
    found = false;
    say(line_error(line, sizeof line, LINE_READING_FAILED));
    return;
  }
  struct line_reading reading;
  reading.centikelvin = line_fixed(sensor.temperature + 273.15f, 100.0f);
  reading.pascal = sensor.pressure;
  reading.millipercent = line_fixed(sensor.humidity, 1000.0f);
  reading.ohm = sensor.gas_resistance;  // the library says 0 where the heater was not stable
  say(line_data(line, sizeof line, ++sequence, line_uptime(&uptime_clock, millis()), &reading));
}

void setup() {
  Serial.begin(115200);
  found = find();
  Serial.write("\r\n");  // ends what the reset has left on the line
  say(line_identity(line, sizeof line, line_uptime(&uptime_clock, millis())));
}

void loop() {
  line_uptime(&uptime_clock, millis());
  switch (line_command(Serial.read())) {
    case LINE_READ:
      answer();
      break;
    case LINE_IDENTIFY:
      say(line_identity(line, sizeof line, line_uptime(&uptime_clock, millis())));
      break;
    case LINE_NOTHING:
      break;
  }
}
