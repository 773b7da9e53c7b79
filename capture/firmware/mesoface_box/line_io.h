// Characters in and out without ever waiting, CRC-32, and the error queue.
#pragma once

#include "config.h"

// --- CRC-32 as in zip and PNG ----------------------------------------------------------------------------------------
static uint32_t crc_add(uint32_t crc, uint8_t byte) {  // start with 0; same running value as zlib's crc32()
  crc = ~crc ^ byte;
  for (uint8_t bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xEDB88320UL : crc >> 1;
  return ~crc;
}

// --- Output: a ring that loop() empties as fast as the port takes it -------------------------------------------------
static const uint16_t OUT_SIZE = 512;
static char out_ring[OUT_SIZE];
static uint16_t out_head = 0, out_tail = 0;
static char tag[8] = "";  // "#17 " of the command being answered
static uint32_t line_crc = 0;

static uint16_t out_free() { return OUT_SIZE - 1 - (uint16_t)(out_head - out_tail + OUT_SIZE) % OUT_SIZE; }

static void put_raw(char c) {
  if (out_free() == 0) return;  // never reached: answers are made only when there is room
  out_ring[out_head] = c;
  out_head = (out_head + 1) % OUT_SIZE;
}

static void put(char c) {
  line_crc = crc_add(line_crc, (uint8_t)c);
  put_raw(c);
}

static void put(const char *text) {
  while (*text) put(*text++);
}

static void put_number(uint32_t value) {
  char digits[11];
  uint8_t n = 0;
  do digits[n++] = '0' + value % 10;
  while (value /= 10);
  while (n) put(digits[--n]);
}

static void put_hex(uint32_t value, uint8_t least = 1) {
  for (int8_t nibble = 7; nibble >= 0; nibble--) {
    uint8_t digit = value >> (4 * nibble) & 0xF;
    if (digit == 0 && nibble >= least && value >> (4 * nibble) == 0) continue;
    put("0123456789ABCDEF"[digit]);
  }
}

static void begin_line() {
  for (const char *c = tag; *c; c++) put_raw(*c);
}

static void end_line() {
  line_crc = crc_add(line_crc, '\n');
  put_raw('\r');
  put_raw('\n');
}

static void answer(const char *text) {
  begin_line();
  put(text);
  end_line();
}

static void answer_number(uint32_t value) {
  begin_line();
  put_number(value);
  end_line();
}

static void answer_ok_number(uint32_t value) {
  begin_line();
  put("OK ");
  put_number(value);
  end_line();
}

static void pump_output() {
  int room = Serial.availableForWrite();
  while (room-- > 0 && out_tail != out_head) {
    Serial.write((uint8_t)out_ring[out_tail]);
    out_tail = (out_tail + 1) % OUT_SIZE;
  }
}

// --- Errors: SCPI's codes, oldest first ------------------------------------------------------------------------------
struct QueuedError {
  int16_t code;
  const char *text;
};
static const uint8_t MAX_ERRORS = 8;
static QueuedError errors[MAX_ERRORS];
static uint8_t error_count = 0;

static void queue_error(int16_t code, const char *text) {
  if (error_count < MAX_ERRORS)
    errors[error_count++] = {code, text};
  else
    errors[MAX_ERRORS - 1] = {-350, "error queue overflow"};
}

static void put_signed(int16_t value) {
  if (value < 0) put('-');
  put_number(value < 0 ? -value : value);
}

static void answer_error(int16_t code, const char *text) {
  queue_error(code, text);
  begin_line();
  put("ERR ");
  put_signed(code);
  end_line();
}

static void answer_oldest_error() {
  QueuedError oldest = {0, "No error"};
  if (error_count) {
    oldest = errors[0];
    for (uint8_t i = 1; i < error_count; i++) errors[i - 1] = errors[i];
    error_count--;
  }
  begin_line();
  put_signed(oldest.code);
  put(",\"");
  put(oldest.text);
  put('"');
  end_line();
}
