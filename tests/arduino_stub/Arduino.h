// Just enough of an Arduino to run the trigger box's sketch as a program: see board.cpp. For tests only.
#pragma once

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
using std::max;

enum { LOW = 0, HIGH = 1, INPUT = 0, OUTPUT = 1, INPUT_PULLUP = 2, FALLING = 2 };
static const uint8_t A0 = 54;

void pinMode(uint8_t pin, uint8_t mode);
void digitalWrite(uint8_t pin, uint8_t level);
void analogWrite(uint8_t pin, int value);
int analogRead(uint8_t pin);
uint32_t micros();
int digitalPinToInterrupt(uint8_t pin);
void attachInterrupt(int number, void (*handler)(), int mode);
void noInterrupts();
void interrupts();

struct SerialPort {
  void begin(uint32_t baud);
  int available();
  int read();
  int availableForWrite();
  size_t write(uint8_t byte);
};
extern SerialPort Serial;
