// An EEPROM in a file, so that it survives a restart of the program.
#pragma once

#include <stdint.h>

struct EepromStub {
  uint8_t read(int address);
  void update(int address, uint8_t value);
};
extern EepromStub EEPROM;
