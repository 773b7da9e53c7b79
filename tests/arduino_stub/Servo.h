// A model servo that reports its angle as the level of its pin.
#pragma once

#include "Arduino.h"

struct Servo {
  uint8_t pin = 63;
  void attach(uint8_t number) { pin = number; }
  void write(int angle) { digitalWrite(pin, (uint8_t)angle); }
};
