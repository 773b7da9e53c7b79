// What you may want to change: wiring, kind of lamps, kind of polariser, and the limits of your hardware.
#pragma once

#include <Arduino.h>

#define FIRMWARE_VERSION "1.0"
static const uint8_t NO_PIN = 255;

// --- Lamps -----------------------------------------------------------------------------------------------------------
// LAMPS_ON_PINS: one output pin per lamp, high = fire. Up to 32, as far as the board has pins.
// LAMPS_ON_SHIFT_REGISTERS: a chain of 74HC595, 8 lamps each; the last register in the chain has lamps 1 to 8.
#define LAMPS_ON_PINS 1
#define LAMPS_ON_SHIFT_REGISTERS 2
#ifndef LAMP_OUTPUTS
#define LAMP_OUTPUTS LAMPS_ON_PINS
#endif

#if LAMP_OUTPUTS == LAMPS_ON_PINS
static const uint8_t LAMP_PINS[] = {22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
static const uint8_t CHANNELS = sizeof(LAMP_PINS);
#else
static const uint8_t CHANNELS = 16;
static const uint8_t SHIFT_DATA_PIN = 22;
static const uint8_t SHIFT_CLOCK_PIN = 23;
static const uint8_t SHIFT_LATCH_PIN = 24;
static const uint8_t SHIFT_ENABLE_PIN = 25;  // to OE of all registers, with a 10 kOhm pull-up: dark while starting
#endif

// How a step's energy (1 to 1000 thousandths of full power) reaches the lamps:
// ENERGY_AS_PULSE: a lamp's output is on for energy / 1000 x FULL_PULSE_US. For LEDs and for flashes that are quenched
//   when their trigger opens.
// ENERGY_AS_LEVEL: every output is on for TRIGGER_US, an X-sync closure; LEVEL_PIN carries the energy as PWM (0 to 255)
//   from the moment the step is next. With LEVEL_PIN = NO_PIN the energy is set by hand at the flashes, and the step's
//   energy only tells the box how long they recharge.
#define ENERGY_AS_PULSE 1
#define ENERGY_AS_LEVEL 2
#ifndef ENERGY_MODE
#define ENERGY_MODE ENERGY_AS_LEVEL
#endif
static const uint32_t FULL_PULSE_US = 8000;
static const uint32_t SHORTEST_PULSE_US = 20;
static const uint32_t TRIGGER_US = 3000;
static const uint8_t LEVEL_PIN = NO_PIN;

// --- Sync inputs: X-sync contacts of the bodies through optocouplers, low = shutter open. Pins with interrupts. ------
static const uint8_t SYNC_PINS[] = {2, 3, 18, 19, 20, 21};  // the six of a Mega 2560; any pins of a Teensy
static const uint8_t SYNC_INPUTS = sizeof(SYNC_PINS);

// --- Polariser -------------------------------------------------------------------------------------------------------
// POLARISER_PINS: two outputs, one high for parallel (P), one for crossed (X), both low for unpolarised (U): a liquid
//   crystal driver, a solenoid or a motor driver. POLARISER_SERVO: a model servo at three angles.
#define POLARISER_PINS 1
#define POLARISER_SERVO 2
#ifndef POLARISER
#define POLARISER POLARISER_PINS
#endif
static const uint8_t PARALLEL_PIN = 40;
static const uint8_t CROSSED_PIN = 41;
static const uint8_t SERVO_PIN = 44;
static const uint8_t SERVO_PARALLEL_DEG = 0;
static const uint8_t SERVO_CROSSED_DEG = 90;
static const uint8_t SERVO_UNPOLARISED_DEG = 0;

// --- The rest --------------------------------------------------------------------------------------------------------
static const uint8_t THERMISTOR_PIN = A0;  // 10 kOhm NTC to ground, 10 kOhm to the supply; NO_PIN without
static const float THERMISTOR_BETA = 3950.0f;
static const uint8_t ARMED_LED_PIN = 13;
static const uint32_t BAUD = 115200;
#define DEFAULT_SERIAL "BOX0001"  // until SYST:SERIAL stores another in the EEPROM

// --- Limits of the hardware; the host can be stricter, never laxer ---------------------------------------------------
static const uint32_t LEAST_RECYCLE_MS = 500;  // a lamp's recharge after full power
static const uint32_t LEAST_SWITCH_MS = 100;   // the polariser's way from one state to the other
#ifndef HEAT_CAPACITY
#define HEAT_CAPACITY 10000  // a lamp may hold the heat of ten full flashes (thousandths) ...
#endif
static const uint32_t HEAT_LIMIT = HEAT_CAPACITY;
static const uint32_t COOLING_US = 2000;       // ... and loses one thousandth in so many microseconds
static const uint32_t STROBE_GAP_US = 333333;  // firings of one lamp closer than this are strobing ...
static const uint8_t STROBE_RUN = 4;           // ... and so many in a row are allowed without SYST:STROBE 1
static const int16_t HOTTEST_TENTHS = 700;     // at 70.0 degrees Celsius nothing fires
static const uint8_t MAX_STEPS = 128;
static const uint16_t MAX_ROWS = 192;

#if defined(__AVR__) && RAMEND < 0x1FFF
#error "needs 8 kB of RAM: use a Mega 2560, a Teensy or a SAMD board, or lower MAX_STEPS and MAX_ROWS and delete this"
#endif
