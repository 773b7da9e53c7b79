// Mesoface trigger box: fires flashes, sets the polariser and logs every step, driven by the bodies' X-sync contacts.
//
// Wiring and boards: README.md in this folder. Commands: docs/trigger-box.md. What you may change: config.h.
// Nothing here waits: loop() turns thousands of times a second, and sync edges are taken by interrupts.
#include <Arduino.h>

#if defined(__has_include)
#if __has_include(<EEPROM.h>)
#include <EEPROM.h>
#define HAS_EEPROM 1
#endif
#endif
#if defined(__AVR__)
#include <avr/wdt.h>
#endif

#include "config.h"
#include "line_io.h"
#include "light.h"
#include "command_line.h"

static const uint32_t QUIET_US = 2000;  // no serial work in the last moments before lamps fire

void setup() {
#if LAMP_OUTPUTS == LAMPS_ON_SHIFT_REGISTERS
  const uint8_t outputs[] = {SHIFT_DATA_PIN, SHIFT_CLOCK_PIN, SHIFT_LATCH_PIN};
  for (uint8_t pin : outputs) pinMode(pin, OUTPUT);
  lamps_dark();
  pinMode(SHIFT_ENABLE_PIN, OUTPUT);
  digitalWrite(SHIFT_ENABLE_PIN, LOW);
#else
  for (uint8_t pin : LAMP_PINS) {
    digitalWrite(pin, LOW);
    pinMode(pin, OUTPUT);
  }
#endif
#if POLARISER == POLARISER_SERVO
  servo.attach(SERVO_PIN);
#else
  pinMode(PARALLEL_PIN, OUTPUT);
  pinMode(CROSSED_PIN, OUTPUT);
#endif
  set_filter('U');
  pinMode(ARMED_LED_PIN, OUTPUT);
  if (LEVEL_PIN != NO_PIN) pinMode(LEVEL_PIN, OUTPUT);
  load_serial();
  Serial.begin(BAUD);
  for (uint8_t i = 0; i < SYNC_INPUTS; i++) {
    pinMode(SYNC_PINS[i], INPUT_PULLUP);
    attachInterrupt(digitalPinToInterrupt(SYNC_PINS[i]), SYNC_HANDLERS[i], FALLING);
  }
#if defined(__AVR__)
  wdt_enable(WDTO_1S);  // a box that hangs restarts, dark and disarmed
#endif
}

void loop() {
  Micros now = now_us();
  take_edges(now);
  now = now_us();
  if (lamps_on && now >= lamps_off_at) lamps_dark();
  if (pending && now >= pending_due) fire_pending(now);
  check_arming(now);
#if defined(__AVR__)
  wdt_reset();
#endif
  // The controller buffers 64 characters, a whole command, so nothing is lost meanwhile.
  if (lamps_on || (pending && now + QUIET_US >= pending_due)) return;
  steer(now);
  prime(now);
  measure_temperature(now);
  read_input();
  send_log_row();
  pump_output();
}
