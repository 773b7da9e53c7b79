// The board around the sketch: main(), a clock, pins, a serial port on a file descriptor, an EEPROM in a file.
//
//   firmware <serial fd> <control fd> <EEPROM file> <start of micros()>
//
// Control, one line each. In: "edge <pin>" (falling edge), "analog <value>", "stall <us>" (the loop is held up).
// Out: "ready", and "<CLOCK_MONOTONIC in ns> <pin> <level>" for each change of an output. Edges run in a thread of their
// own and wait for noInterrupts(), like real interrupts.
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "Arduino.h"
#include "EEPROM.h"

void setup();
void loop();

SerialPort Serial;
EepromStub EEPROM;

static int serial_fd, control_fd;
static const char *eeprom_path;
static uint32_t clock_start;
static uint8_t levels[64];
static void (*handlers[64])();
static std::recursive_mutex interrupt_lock;
static std::atomic<int> analog_value{512};
static std::atomic<int> stall_us{0};

static uint64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ull + now.tv_nsec;
}

uint32_t micros() {
  static const uint64_t born = monotonic_ns();
  return clock_start + (uint32_t)((monotonic_ns() - born) / 1000);
}

void pinMode(uint8_t, uint8_t) {}
void digitalWrite(uint8_t pin, uint8_t level) {
  if (levels[pin] == level) return;
  levels[pin] = level;
  dprintf(control_fd, "%llu %d %d\n", (unsigned long long)monotonic_ns(), pin, level);
}
void analogWrite(uint8_t pin, int value) { digitalWrite(pin, (uint8_t)value); }
int analogRead(uint8_t) { return analog_value; }
int digitalPinToInterrupt(uint8_t pin) { return pin; }
void attachInterrupt(int number, void (*handler)(), int) { handlers[number] = handler; }
void noInterrupts() { interrupt_lock.lock(); }
void interrupts() { interrupt_lock.unlock(); }

void SerialPort::begin(uint32_t) {}
static int pending_byte = -1;
int SerialPort::available() {
  if (pending_byte < 0) {
    uint8_t byte;
    ssize_t got = ::read(serial_fd, &byte, 1);
    if (got == 1) pending_byte = byte;
  }
  return pending_byte >= 0;
}
int SerialPort::read() {
  int byte = available() ? pending_byte : -1;
  pending_byte = -1;
  return byte;
}
int SerialPort::availableForWrite() { return 63; }
size_t SerialPort::write(uint8_t byte) { return ::write(serial_fd, &byte, 1) == 1; }

uint8_t EepromStub::read(int address) {
  uint8_t value = 0xFF;
  int file = open(eeprom_path, O_RDONLY);
  if (file >= 0) {
    if (pread(file, &value, 1, address) != 1) value = 0xFF;
    close(file);
  }
  return value;
}
void EepromStub::update(int address, uint8_t value) {
  int file = open(eeprom_path, O_RDWR | O_CREAT, 0600);
  if (pwrite(file, &value, 1, address) != 1) abort();
  close(file);
}

static void control() {
  FILE *in = fdopen(dup(control_fd), "r");
  char text[80];
  int value;
  while (fgets(text, sizeof text, in)) {
    if (sscanf(text, "edge %d", &value) == 1 && value >= 0 && value < 64 && handlers[value]) {
      std::lock_guard<std::recursive_mutex> hold(interrupt_lock);
      handlers[value]();
    } else if (sscanf(text, "analog %d", &value) == 1) {
      analog_value = value;
    } else if (sscanf(text, "stall %d", &value) == 1) {
      stall_us = value;
    }
  }
  _exit(0);  // the test is gone
}

int main(int, char **argument) {
  serial_fd = atoi(argument[1]);
  control_fd = atoi(argument[2]);
  eeprom_path = argument[3];
  clock_start = (uint32_t)strtoul(argument[4], nullptr, 10);
  fcntl(serial_fd, F_SETFL, O_NONBLOCK);
  setup();
  dprintf(control_fd, "ready\n");
  std::thread(control).detach();
  for (;;) {
    loop();
    if (int pause = stall_us.exchange(0)) usleep(pause);
    // Rests until something comes in or 50 us are over, so that tests leave the processor to others.
    pollfd wait = {serial_fd, POLLIN, 0};
    timespec nap = {0, 50000};
    ppoll(&wait, 1, &nap, nullptr);
  }
}
