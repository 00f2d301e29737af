// The face of Adafruit's library that our sketch uses. What the sensor says is set by the environment.
#pragma once
#include <cmath>
#include <cstdlib>

#include "Arduino.h"

enum { BME680_OS_2X = 2, BME680_OS_4X = 3, BME680_OS_8X = 4, BME680_FILTER_SIZE_3 = 2 };

class Adafruit_BME680 {
 public:
  float temperature = 0;        // degC
  uint32_t pressure = 0;        // Pa
  float humidity = 0;           // %
  uint32_t gas_resistance = 0;  // Ohm

  bool begin(uint8_t address) { return value("ADDRESS", 0x76) == address; }
  bool setTemperatureOversampling(uint8_t) { return true; }
  bool setPressureOversampling(uint8_t) { return true; }
  bool setHumidityOversampling(uint8_t) { return true; }
  bool setIIRFilterSize(uint8_t) { return true; }
  bool setGasHeater(uint16_t celsius, uint16_t ms) { return celsius == 320 && ms == 150; }
  uint32_t beginReading() { return value("BEGINS", 1) ? millis() + 1 : 0; }
  bool endReading() {
    temperature = static_cast<float>(value("TEMPERATURE", 21.16));
    pressure = static_cast<uint32_t>(value("PRESSURE", 98123)) + (++readings % 3);
    humidity = static_cast<float>(value("HUMIDITY", 41.203));
    gas_resistance = static_cast<uint32_t>(value("GAS", 120345)) + readings;
    if (value("GAS", 120345) == 0) gas_resistance = 0;
    return value("ENDS", 1) != 0;
  }

 private:
  uint32_t readings = 0;
  static double value(const char *name, double usual) {
    const char *given = getenv(name);
    return given ? atof(given) : usual;
  }
};
