// What each command does and answers; docs/trigger-box.md describes them all. command_line.h calls them.
#pragma once

#include "light.h"

static const uint8_t MAX_PARAMETERS = 5;
static char *parameters[MAX_PARAMETERS];
static char serial_number[13] = DEFAULT_SERIAL;

// --- Numbers and words -----------------------------------------------------------------------------------------------
// Each reader queues and answers the error itself and then returns false.
static bool read_number(const char *text, uint32_t low, uint32_t high, uint32_t &value, const char *out_of_range,
                        bool hex = false) {
  const uint8_t most = hex ? 8 : 10;
  uint64_t sum = 0;
  uint8_t n = 0;
  for (; text[n]; n++) {
    char c = toupper(text[n]);
    uint8_t digit = c >= '0' && c <= '9' ? c - '0' : hex && c >= 'A' && c <= 'F' ? c - 'A' + 10 : 255;
    if (digit == 255 || n >= most) {
      answer_error(-102, "no number");
      return false;
    }
    sum = sum * (hex ? 16 : 10) + digit;
  }
  if (sum < low || sum > high) {
    answer_error(-222, out_of_range);
    return false;
  }
  value = (uint32_t)sum;
  return true;
}

static bool is_token(const char *text, uint8_t longest) {
  uint8_t n = 0;
  for (; text[n]; n++)
    if (!isalnum(text[n]) && !strchr("_.-", text[n])) return false;
  return n >= 1 && n <= longest;
}

static bool refuse_if(bool condition, const char *text) {
  if (condition) answer_error(-221, text);
  return condition;
}

// The sequence and its id stand fast while armed, and as long as the log tells of them.
static bool refuse_change() { return refuse_if(armed, "armed") || refuse_if(row_count > 0, "log not empty"); }

static void forget_sequence() {
  step_count = next_step = 0;
  row_count = 0;
  sequence_crc = 0;
  strcpy(sequence_id, "-");
}

// --- Log: sent row by row as the port takes it -----------------------------------------------------------------------
static uint16_t log_next = 0, log_end = 0;
static bool log_sending = false;

static void send_log_row() {
  if (!log_sending || out_free() < 90) return;
  begin_line();
  if (log_next == log_end) {
    uint32_t crc = line_crc;
    put("END ");
    put_hex(crc, 8);
    end_line();
    log_sending = false;
    return;
  }
  const Row &row = rows[log_next];
  put_number(log_next++);
  put(',');
  put_number(row.step);
  put(',');
  put_number(row.time_us);
  put(row.from_host ? ",H," : ",E,");
  put(row.reason == FIRED ? '1' : '0');
  put(',');
  put_hex(row.mask);
  put(',');
  put(POLARISERS[row.polariser]);
  put(',');
  put_hex(row.inputs);
  put(',');
  put(REASONS[row.reason]);
  end_line();
}

static void send_log() {
  uint32_t first = 0;
  if (parameters[0] && !read_number(parameters[0], 0, row_count, first, "row out of range")) return;
  log_next = first;
  log_end = row_count;
  log_sending = true;
  begin_line();
  put("LOG ");
  put_number(log_end - log_next);
  put(',');
  put_number(row_count);
  put(',');
  put(sequence_id);
  end_line();
  line_crc = 0;
}

// --- Commands of the system ------------------------------------------------------------------------------------------
static void identify() {
  begin_line();
  put("Mesoface,trigger box,");
  put(serial_number);
  put("," FIRMWARE_VERSION);
  end_line();
}

static void reset_box() {
  disarm("reset");
  forget_sequence();
  recycle_ms = switch_ms = 0;
  watchdog_ms = 10000;
  window_us = 100000;
  strobe_allowed = false;
  answer("OK");
}

static void set_value(uint32_t &setting, uint32_t low, uint32_t high, const char *out_of_range) {
  uint32_t value;
  if (!read_number(parameters[0], low, high, value, out_of_range) || refuse_if(armed, "armed")) return;
  setting = value;
  answer("OK");
}

static void set_strobe() {
  uint32_t value = strobe_allowed;
  set_value(value, 0, 1, "strobe out of range");
  strobe_allowed = value;
}

static void load_serial() {
#ifdef HAS_EEPROM
  char stored[13];
  for (uint8_t i = 0; i < 13; i++) stored[i] = EEPROM.read(i);
  stored[12] = 0;
  if (is_token(stored, 12)) strcpy(serial_number, stored);
#endif
}

static void set_serial() {
  if (!is_token(parameters[0], 12)) return answer_error(-224, "serial number");
  if (refuse_if(armed, "armed")) return;
  strcpy(serial_number, parameters[0]);
#ifdef HAS_EEPROM
  for (uint8_t i = 0; i < 13; i++) EEPROM.update(i, i <= strlen(serial_number) ? serial_number[i] : 0);
#endif
  answer("OK");
}

// --- Commands of the sequence ----------------------------------------------------------------------------------------
static void clear_sequence() {
  if (refuse_if(armed, "armed")) return;
  forget_sequence();
  Micros now = now_us();
  if (window_until > now) window_until = now;
  answer("OK");
}

static void put_step(const Step &step) {
  put_hex(step.mask);
  put(',');
  put(step.polariser);
  put(',');
  put_number(step.energy);
  put(',');
  put_number(step.delay_us);
}

static void add_step() {
  Step step;
  uint32_t energy;
  const uint32_t every = CHANNELS == 32 ? 0xFFFFFFFFUL : (1UL << (CHANNELS % 32)) - 1;
  if (!read_number(parameters[0], 1, every, step.mask, "mask out of range", true)) return;
  step.polariser = parameters[1][0];
  if (!strchr(POLARISERS, step.polariser) || parameters[1][1]) return answer_error(-224, "polariser");
  if (!read_number(parameters[2], 1, 1000, energy, "energy out of range")) return;
  if (!read_number(parameters[3], 0, 1000000, step.delay_us, "delay out of range")) return;
  step.energy = energy;
  if (refuse_change()) return;
  if (step_count >= MAX_STEPS) return answer_error(-223, "sequence full");
  steps[step_count++] = step;
  // Canonical bytes, little-endian: u32 mask, letter, u16 energy, u32 delay.
  const uint8_t bytes[] = {(uint8_t)step.mask,           (uint8_t)(step.mask >> 8),      (uint8_t)(step.mask >> 16),
                           (uint8_t)(step.mask >> 24),   (uint8_t)step.polariser,        (uint8_t)step.energy,
                           (uint8_t)(step.energy >> 8),  (uint8_t)step.delay_us,         (uint8_t)(step.delay_us >> 8),
                           (uint8_t)(step.delay_us >> 16), (uint8_t)(step.delay_us >> 24)};
  for (uint8_t byte : bytes) sequence_crc = crc_add(sequence_crc, byte);
  answer_ok_number(step_count);
}

static bool read_step_number(uint32_t &number) {
  if (!read_number(parameters[0], 0, 0xFFFFFFFFUL, number, "step out of range")) return false;
  if (number < step_count) return true;
  answer_error(-222, "step out of range");
  return false;
}

static void get_step() {
  uint32_t number;
  if (!read_step_number(number)) return;
  begin_line();
  put_step(steps[number]);
  end_line();
}

static void answer_crc() {
  begin_line();
  put_hex(sequence_crc, 8);
  end_line();
}

static void set_sequence_id() {
  if (!is_token(parameters[0], sizeof(sequence_id) - 1)) return answer_error(-224, "sequence id");
  if (refuse_change()) return;
  strcpy(sequence_id, parameters[0]);
  answer("OK");
}

static void set_next() {
  uint32_t number;
  if (!read_step_number(number) || refuse_if(armed, "armed")) return;
  next_step = number;
  answer("OK");
}

// --- Commands of a take ----------------------------------------------------------------------------------------------
static void arm() {
  Micros now = now_us();
  uint32_t timeout_s, expected, count = step_count - next_step;
  const uint32_t most = 0xFFFFFFFFUL, remaining = count;
  if (!read_number(parameters[0], 1, 600, timeout_s, "timeout out of range")) return;
  if (!read_number(parameters[1], 1, most, expected, "expected steps out of range")) return;
  if (parameters[2] && !read_number(parameters[2], 1, most, count, "count out of range")) return;
  if (refuse_if(!step_count, "empty sequence") || refuse_if(armed, "armed")) return;
  if (refuse_if(expected != step_count, "expected steps differ")) return;
  if (refuse_if(remaining < 1, "sequence finished") || refuse_if(count > remaining, "count exceeds sequence")) return;
  if (row_count >= MAX_ROWS) return answer_error(-223, "log full");
  if (is_hot()) return answer_error(-240, "too hot");
  if (refuse_if(steps[next_step].mask & ~ready_mask(now), "lamps not ready")) return;
  armed = true;
  armed_until = now + (Micros)timeout_s * 1000000;
  left = count;
  end_reason = END_NONE;
  digitalWrite(ARMED_LED_PIN, HIGH);
  answer_ok_number(count);
}

static void answer_status() {
  Micros now = now_us();
  begin_line();
  put(armed ? "ARMED=1 READY=" : "ARMED=0 READY=");
  put_hex(ready_mask(now));
  put(" NEXT=");
  put_number(next_step);
  put(" LEFT=");
  put_number(left);
  put(" POL=");
  put(filter_state);
  put(filter_settled(now) && !under_way(now) ? " SETTLED=1 TEMP=" : " SETTLED=0 TEMP=");
  if (has_temperature) {
    put_signed(temperature_tenths / 10);
    put('.');
    put_number(abs(temperature_tenths) % 10);
  } else {
    put('-');
  }
  put(" STRAY=");
  put_number(stray_edges);
  put(" ROWS=");
  put_number(row_count);
  put(" END=");
  put(end_reason);
  end_line();
}

static void fire_from_host() {
  Micros now = now_us();
  if (refuse_if(!armed, "not armed") || refuse_if(under_way(now), "step under way")) return;
  if (row_count >= MAX_ROWS) {
    disarm("abort");
    return answer_error(-223, "log full");
  }
  answer_ok_number(next_step);
  begin_step(true, now, 0);
}

static void abort_all() {
  if (armed || pending) disarm("abort");
  answer("OK");
}
