// The light: steps, lamps, polariser, sync edges, arming, and the log of what was fired.
//
// An edge whose step has no delay fires in the interrupt itself: loop() has checked everything beforehand and "primed"
// it. All other firing, and all bookkeeping, is done by loop(), which never waits for anything. Where the energy is the
// length of the pulse, loop() fires always, because it is loop() that ends the pulse in time.
#pragma once

#include "config.h"
#include "line_io.h"
#if POLARISER == POLARISER_SERVO
#include <Servo.h>
static Servo servo;
#endif

typedef uint64_t Micros;  // time since start; does not wrap

struct Step {
  uint32_t mask;
  char polariser;
  uint16_t energy;
  uint32_t delay_us;
};

struct Row {  // 11 bytes: most of the controller's memory is rows
  uint32_t time_us;
  uint32_t mask;
  uint8_t step;
  uint8_t inputs;
  uint8_t polariser : 2;  // index in POLARISERS
  uint8_t from_host : 1;
  uint8_t reason : 3;
};

static const char POLARISERS[] = "UPX";
enum Reason { FIRED, NOT_READY, POLARISER_MOVES, DUTY, STROBE, HOT, ABORTED };
static const char *const REASONS[] = {"", "not ready", "polariser", "duty", "strobe", "hot", "aborted"};
static const char *const END_NONE = "none";

struct Lamp {
  Micros ready_at, fired_at;
  uint32_t heat;
  uint8_t run;
};

static Step steps[MAX_STEPS];
static uint8_t step_count = 0, next_step = 0;
static uint32_t sequence_crc = 0;
static char sequence_id[25] = "-";
static Row rows[MAX_ROWS];
static uint16_t row_count = 0;
static Lamp lamps[CHANNELS];

static bool armed = false;
static Micros armed_until = 0, heard_at = 0;
static uint8_t left = 0;
static const char *end_reason = END_NONE;
static uint32_t stray_edges = 0;
static bool strobe_allowed = false;
static uint32_t recycle_ms = 0, switch_ms = 0, watchdog_ms = 10000, window_us = 100000;

static bool pending = false, pending_from_host = false;  // triggered, lamps still to fire
static Micros pending_edge = 0, pending_due = 0;
static uint8_t pending_inputs = 0;
static Micros window_until = 0, hold_until = 0, lamps_off_at = 0;
static bool lamps_on = false;
static char filter_state = 'U';
static Micros filter_settled_at = 0;
static int16_t temperature_tenths = 0;
static bool has_temperature = false;

// --- Time ------------------------------------------------------------------------------------------------------------
static Micros now_us() {  // must be called more often than micros() wraps, every 71 minutes
  static uint32_t last = micros();
  static Micros total = last;
  uint32_t now = micros();
  total += (uint32_t)(now - last);
  last = now;
  return total;
}

// --- Lamp outputs ----------------------------------------------------------------------------------------------------
static volatile uint32_t staged_mask = 0;

static void stage_lamps(uint32_t mask) {  // the slow part: everything but the last write
  staged_mask = mask;
#if LAMP_OUTPUTS == LAMPS_ON_SHIFT_REGISTERS
  for (int8_t bit = (CHANNELS + 7) / 8 * 8 - 1; bit >= 0; bit--) {
    digitalWrite(SHIFT_DATA_PIN, mask >> bit & 1 ? HIGH : LOW);
    digitalWrite(SHIFT_CLOCK_PIN, HIGH);
    digitalWrite(SHIFT_CLOCK_PIN, LOW);
  }
#endif
}

static void latch_lamps() {
#if LAMP_OUTPUTS == LAMPS_ON_SHIFT_REGISTERS
  digitalWrite(SHIFT_LATCH_PIN, HIGH);
  digitalWrite(SHIFT_LATCH_PIN, LOW);
#else
  for (uint8_t i = 0; i < CHANNELS; i++) digitalWrite(LAMP_PINS[i], staged_mask >> i & 1 ? HIGH : LOW);
#endif
}

static void lamps_dark() {
  stage_lamps(0);
  latch_lamps();
  lamps_on = false;
}

static uint32_t pulse_us(const Step &step) {
#if ENERGY_MODE == ENERGY_AS_PULSE
  uint32_t us = FULL_PULSE_US * step.energy / 1000;
  return us < SHORTEST_PULSE_US ? SHORTEST_PULSE_US : us;
#else
  (void)step;
  return TRIGGER_US;
#endif
}

// --- Sync edges: the interrupts --------------------------------------------------------------------------------------
struct Edge {
  uint32_t time_us;
  uint8_t input;
  bool fired;
};
static const uint8_t MAX_EDGES = 16;
static volatile uint8_t edge_count = 0;
static Edge edges[MAX_EDGES];
static volatile bool primed = false;  // the next edge may fire staged_mask at once

static void on_sync(uint8_t input) {
  uint32_t time_us = micros();
  bool fire = primed;
  if (fire) {
    primed = false;
    latch_lamps();
  }
  if (edge_count < MAX_EDGES) edges[edge_count++] = {time_us, input, fire};
}

template <uint8_t INPUT_NUMBER>
static void sync_handler() {
  on_sync(INPUT_NUMBER);
}
static void (*const SYNC_HANDLERS[])() = {sync_handler<0>, sync_handler<1>, sync_handler<2>, sync_handler<3>,
                                          sync_handler<4>, sync_handler<5>, sync_handler<6>, sync_handler<7>};
static_assert(sizeof(SYNC_PINS) <= 8, "at most 8 sync inputs");

// --- May this step fire now? -----------------------------------------------------------------------------------------
static uint32_t heat_at(const Lamp &lamp, Micros now) {
  Micros cooled = (now - lamp.fired_at) / COOLING_US;
  return cooled >= lamp.heat ? 0 : lamp.heat - (uint32_t)cooled;
}

static bool is_quick(const Lamp &lamp, Micros now) { return lamp.run && now - lamp.fired_at < STROBE_GAP_US; }

static bool lamp_ready(const Lamp &lamp, Micros now) {
  return now >= lamp.ready_at && heat_at(lamp, now) + 1000 <= HEAT_LIMIT;
}

static uint32_t ready_mask(Micros now) {
  uint32_t mask = 0;
  for (uint8_t i = 0; i < CHANNELS; i++)
    if (lamp_ready(lamps[i], now)) mask |= 1UL << i;
  return mask;
}

static bool is_hot() { return has_temperature && temperature_tenths >= HOTTEST_TENTHS; }
static bool filter_settled(Micros now) { return now >= filter_settled_at; }
static bool under_way(Micros now) { return pending || now < window_until; }

static Reason refusal(const Step &step, Micros now) {
  if (is_hot()) return HOT;
  bool duty = false, strobe = false;
  for (uint8_t i = 0; i < CHANNELS; i++) {
    if (!(step.mask >> i & 1)) continue;
    const Lamp &lamp = lamps[i];
    if (now < lamp.ready_at) return NOT_READY;
    duty |= heat_at(lamp, now) + step.energy > HEAT_LIMIT;
    strobe |= !strobe_allowed && lamp.run >= STROBE_RUN && is_quick(lamp, now);
  }
  if (filter_state != step.polariser || !filter_settled(now)) return POLARISER_MOVES;
  return duty ? DUTY : strobe ? STROBE : FIRED;
}

// --- Steps -----------------------------------------------------------------------------------------------------------
static void add_row(const Step &step, Reason reason) {
  Row &row = rows[row_count++];
  row.time_us = (uint32_t)pending_edge;
  row.mask = step.mask;
  row.step = next_step;
  row.inputs = pending_inputs;
  row.polariser = strchr(POLARISERS, step.polariser) - POLARISERS;
  row.from_host = pending_from_host;
  row.reason = reason;
}

static void disarm(const char *why) {
  noInterrupts();
  primed = false;
  interrupts();
  armed = false;
  left = 0;
  end_reason = why;
  digitalWrite(ARMED_LED_PIN, LOW);
  if (pending) {
    pending = false;
    add_row(steps[next_step], ABORTED);
  }
}

static void begin_step(bool from_host, Micros edge, uint8_t inputs) {
  pending = true;
  pending_from_host = from_host;
  pending_edge = edge;
  pending_due = edge + steps[next_step].delay_us;
  pending_inputs = inputs;
  window_until = edge + window_us;
}

static void finish_step(Micros fired_at) {  // the lamps were triggered at fired_at
  const Step &step = steps[next_step];
  uint32_t full_ms = recycle_ms > LEAST_RECYCLE_MS ? recycle_ms : LEAST_RECYCLE_MS;
  for (uint8_t i = 0; i < CHANNELS; i++) {
    if (!(step.mask >> i & 1)) continue;
    Lamp &lamp = lamps[i];
    lamp.run = is_quick(lamp, fired_at) ? (lamp.run < 255 ? lamp.run + 1 : 255) : 1;
    lamp.heat = heat_at(lamp, fired_at) + step.energy;
    lamp.fired_at = fired_at;
    lamp.ready_at = fired_at + (Micros)full_ms * step.energy;  // ms x thousandths = us
  }
  lamps_on = true;
  lamps_off_at = fired_at + pulse_us(step);
  hold_until = lamps_off_at + 7000;
  pending = false;
  add_row(step, FIRED);
  next_step++;
  if (left) left--;
  if (!left || next_step >= step_count) disarm("done");
}

static void fire_pending(Micros now) {
  Reason reason = refusal(steps[next_step], now);
  if (reason == FIRED) {
    stage_lamps(steps[next_step].mask);
    latch_lamps();
    finish_step(now_us());
  } else {
    pending = false;
    add_row(steps[next_step], reason);
  }
}

static bool log_has_room() {
  if (row_count < MAX_ROWS) return true;
  disarm("abort");
  queue_error(-223, "log full");
  return false;
}

static void handle_edge(const Edge &edge, Micros now) {
  Micros time = now - (uint32_t)((uint32_t)now - edge.time_us);
  uint8_t bit = 1 << edge.input;
  if (edge.fired) {
    begin_step(false, time, bit);
    finish_step(time);
  } else if (time < window_until) {  // another body of the same step, or a bouncing contact
    if (pending)
      pending_inputs |= bit;
    else if (row_count)
      rows[row_count - 1].inputs |= bit;
  } else if (pending || !armed || !log_has_room()) {
    stray_edges++;
  } else {
    begin_step(false, time, bit);
  }
}

static void take_edges(Micros now) {
  for (;;) {
    Edge edge;
    noInterrupts();
    bool any = edge_count > 0;
    if (any) {
      edge = edges[0];
      for (uint8_t i = 1; i < edge_count; i++) edges[i - 1] = edges[i];
      edge_count = edge_count - 1;
    }
    interrupts();
    if (!any) return;
    // An edge may be younger than `now`; its age is then a huge number.
    handle_edge(edge, (int32_t)(edge.time_us - (uint32_t)now) > 0 ? now_us() : now);
  }
}

static void prime(Micros now) {  // let the interrupt fire the next step by itself, if it may
  if (ENERGY_MODE == ENERGY_AS_PULSE) return;
  if (primed || !armed || under_way(now) || lamps_on || row_count >= MAX_ROWS) return;
  const Step &step = steps[next_step];
  if (step.delay_us || refusal(step, now) != FIRED) return;
  stage_lamps(step.mask);
  noInterrupts();
  primed = edge_count == 0;
  interrupts();
}

static void unprime() {
  noInterrupts();
  primed = false;
  interrupts();
}

// --- Polariser and energy level: towards the next step, but not while lamps burn -------------------------------------
static void set_filter(char state) {
  filter_state = state;
#if POLARISER == POLARISER_SERVO
  servo.write(state == 'P' ? SERVO_PARALLEL_DEG : state == 'X' ? SERVO_CROSSED_DEG : SERVO_UNPOLARISED_DEG);
#else
  digitalWrite(PARALLEL_PIN, LOW);  // off before on: a driver may not bear both
  digitalWrite(CROSSED_PIN, LOW);
  if (state == 'P') digitalWrite(PARALLEL_PIN, HIGH);
  if (state == 'X') digitalWrite(CROSSED_PIN, HIGH);
#endif
}

static void steer(Micros now) {
  if (pending || lamps_on || next_step >= step_count || now < hold_until) return;
  const Step &step = steps[next_step];
#if ENERGY_MODE == ENERGY_AS_LEVEL
  if (LEVEL_PIN != NO_PIN) analogWrite(LEVEL_PIN, (uint32_t)step.energy * 255 / 1000);
#endif
  if (step.polariser == filter_state) return;
  set_filter(step.polariser);
  filter_settled_at = now + 1000UL * (switch_ms > LEAST_SWITCH_MS ? switch_ms : LEAST_SWITCH_MS);
}

static void check_arming(Micros now) {
  if (!armed || pending) return;
  Micros silent_at = heard_at + (Micros)watchdog_ms * 1000;
  if (now < armed_until && now < silent_at) return;
  bool timeout = armed_until <= silent_at;
  disarm(timeout ? "timeout" : "watchdog");
  queue_error(-365, timeout ? "arm timeout" : "host silent");
}

static void measure_temperature(Micros now) {
  static Micros next_at = 0;
  if (THERMISTOR_PIN == NO_PIN || now < next_at) return;
  next_at = now + 500000;
#if defined(__AVR__)
  const float full = 1023.0f;
#else
  const float full = 1023.0f;  // the Arduino default of 10 bits on every board
#endif
  float reading = analogRead(THERMISTOR_PIN);
  has_temperature = reading > 5 && reading < full - 5;  // else shorted or not connected
  if (!has_temperature) return;
  float kelvin = 1.0f / (1.0f / 298.15f + log(reading / (full - reading)) / THERMISTOR_BETA);
  temperature_tenths = (int16_t)((kelvin - 273.15f) * 10.0f + 0.5f);
}
