// The command line: reads characters, takes a line apart, finds the command in the table.
#pragma once

#include "commands.h"

static const uint8_t LONGEST_LINE = 63;
static char line[LONGEST_LINE + 1];
static uint8_t line_length = 0;
static bool line_too_long = false;

// --- The table -------------------------------------------------------------------------------------------------------
struct Command {
  const char *header;
  uint8_t fewest, most;
  void (*run)();
};

static const Command COMMANDS[] = {
    {"*IDN?", 0, 0, identify},
    {"*RST", 0, 0, reset_box},
    {"*CLS", 0, 0, [] { error_count = 0; answer("OK"); }},
    {"SYST:ERR?", 0, 0, answer_oldest_error},
    {"SYST:PROT?", 0, 0, [] { answer("mesoface-box 1"); }},
    {"SYST:CHAN?", 0, 0, [] { answer_number(CHANNELS); }},
    {"SYST:TIME?", 0, 0, [] { answer_number((uint32_t)now_us()); }},
    {"SYST:SERIAL", 1, 1, set_serial},
    {"SYST:REC", 1, 1, [] { set_value(recycle_ms, 0, 60000, "recycle out of range"); }},
    {"SYST:REC?", 0, 0, [] { answer_number(max(recycle_ms, LEAST_RECYCLE_MS)); }},
    {"SYST:POL", 1, 1, [] { set_value(switch_ms, 0, 60000, "switch out of range"); }},
    {"SYST:POL?", 0, 0, [] { answer_number(max(switch_ms, LEAST_SWITCH_MS)); }},
    {"SYST:WDOG", 1, 1, [] { set_value(watchdog_ms, 500, 60000, "watchdog out of range"); }},
    {"SYST:WDOG?", 0, 0, [] { answer_number(watchdog_ms); }},
    {"SYST:STROBE", 1, 1, set_strobe},
    {"SYST:STROBE?", 0, 0, [] { answer_number(strobe_allowed); }},
    {"SEQ:CLR", 0, 0, clear_sequence},
    {"SEQ:ADD", 4, 4, add_step},
    {"SEQ:LEN?", 0, 0, [] { answer_number(step_count); }},
    {"SEQ:GET?", 1, 1, get_step},
    {"SEQ:CRC?", 0, 0, answer_crc},
    {"SEQ:ID", 1, 1, set_sequence_id},
    {"SEQ:ID?", 0, 0, [] { answer(sequence_id); }},
    {"SEQ:NEXT", 1, 1, set_next},
    {"SEQ:NEXT?", 0, 0, [] { answer_number(next_step); }},
    {"SEQ:WIN", 1, 1, [] { set_value(window_us, 1000, 1000000, "window out of range"); }},
    {"SEQ:WIN?", 0, 0, [] { answer_number(window_us); }},
    {"ARM", 2, 3, arm},
    {"STAT?", 0, 0, answer_status},
    {"FIRE", 0, 0, fire_from_host},
    {"ABORT", 0, 0, abort_all},
    {"LOG?", 0, 1, send_log},
};

// --- Reading ---------------------------------------------------------------------------------------------------------
static char *trim(char *text) {
  while (*text == ' ') text++;
  for (size_t n = strlen(text); n && text[n - 1] == ' '; n--) text[n - 1] = 0;
  return text;
}

// Moves "#17 " from the front of the line into `tag`; false when it is malformed.
static char *take_tag(char *text) {
  if (*text != '#') return text;
  uint8_t n = 1;
  while (n <= 5 && isdigit(text[n])) n++;
  if (n == 1 || text[n] != ' ') return nullptr;
  memcpy(tag, text, n + 1);
  tag[n + 1] = 0;
  return trim(text + n);
}

static void handle_line(char *text) {
  tag[0] = 0;
  text = trim(text);
  if (!*text) return;
  for (char *c = text; *c; c++)
    if (*c < ' ' || *c > '~') return answer_error(-102, "not ASCII");
  text = take_tag(text);
  if (!text) return answer_error(-102, "tag");
  char *rest = strchr(text, ' ');
  if (rest) *rest++ = 0;
  for (char *c = text; *c; c++) *c = toupper(*c);
  uint8_t count = 0;
  bool empty = false;
  for (uint8_t i = 0; i < MAX_PARAMETERS; i++) parameters[i] = nullptr;
  rest = rest ? trim(rest) : nullptr;
  while (rest && (*rest || count) && count < MAX_PARAMETERS) {
    char *comma = strchr(rest, ',');
    if (comma) *comma++ = 0;
    parameters[count] = trim(rest);
    empty |= !*parameters[count++];
    rest = comma;
  }
  for (const Command &command : COMMANDS) {
    if (strcmp(command.header, text)) continue;
    if (count < command.fewest || empty) return answer_error(-109, "missing parameter");
    if (count > command.most) return answer_error(-108, "too many parameters");
    return command.run();
  }
  answer_error(-113, "Undefined header");
}

static void read_input() {
  while (Serial.available() && !log_sending && out_free() > 200) {
    char c = (char)Serial.read();
    if (c == '\n') {
      // A command finds all edges so far dealt with, and none fires behind its back.
      unprime();
      take_edges(now_us());
      heard_at = now_us();
      line[line_length] = 0;
      if (line_too_long) {
        tag[0] = 0;
        answer_error(-363, "line too long");
      } else {
        handle_line(line);
      }
      line_length = 0;
      line_too_long = false;
      return;  // one command per turn of loop()
    }
    if (c == '\r') continue;
    if (c == 0) c = '\x7f';  // refused as "not ASCII" instead of ending the line early
    if (line_length < LONGEST_LINE)
      line[line_length++] = c;
    else
      line_too_long = true;
  }
}
