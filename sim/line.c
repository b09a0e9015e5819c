/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/line.h"

enum { DEPTH_MAX = 64 };

bool lw_line_problem(lw_line *in, const char *what) {
    if (in->problem == NULL) {
        in->problem = what;
    }
    return false;
}

void lw_line_skip_space(lw_line *in) {
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\r')) {
        in->at++;
    }
}

bool lw_line_take(lw_line *in, char wanted) {
    lw_line_skip_space(in);
    bool found = in->at < in->end && *in->at == (uint8_t)wanted;
    in->at += found;
    return found;
}

bool lw_line_want(lw_line *in, char wanted, const char *otherwise) {
    return lw_line_take(in, wanted) || lw_line_problem(in, otherwise);
}

bool lw_line_take_word(lw_line *in, const char *word) {
    lw_line_skip_space(in);
    size_t size = strlen(word);
    bool found = (size_t)(in->end - in->at) >= size && memcmp(in->at, word, size) == 0;
    in->at += found ? size : 0;
    return found;
}

bool lw_line_want_text(lw_line *in, lw_bytes *text) {
    if (!lw_line_want(in, '"', "a text is wanted")) {
        return false;
    }
    const uint8_t *begin = in->at;
    while (in->at < in->end && *in->at != '"') {
        in->at += *in->at == '\\' && in->at + 1 < in->end ? 2 : 1;
    }
    if (in->at >= in->end) {
        return lw_line_problem(in, "a text does not end");
    }
    *text = lw_view(begin, (size_t)(in->at - begin));
    in->at++;
    return true;
}

bool lw_line_want_number(lw_line *in, uint64_t *number) {
    lw_line_skip_space(in);
    const uint8_t *begin = in->at;
    *number = 0;
    for (; in->at < in->end && *in->at >= '0' && *in->at <= '9'; in->at++) {
        uint64_t digit = (uint64_t)(*in->at - '0');
        if (*number > (UINT64_MAX - digit) / 10) {
            return lw_line_problem(in, "a number is above 64 bits");
        }
        *number = *number * 10 + digit;
    }
    bool fraction = in->at < in->end && (*in->at == '.' || *in->at == 'e' || *in->at == 'E');
    return (in->at > begin && !fraction) || lw_line_problem(in, "a number without sign is wanted");
}

bool lw_line_skip_value(lw_line *in) {
    uint32_t depth = 0;
    do {
        lw_line_skip_space(in);
        lw_bytes text;
        if (in->at >= in->end) {
            return lw_line_problem(in, "the line ends too early");
        }
        if (*in->at == '"') {
            if (!lw_line_want_text(in, &text)) {
                return false;
            }
            continue;
        }
        uint8_t byte = *in->at;
        bool bare = strchr(",:[]{}", byte) == NULL;
        if (depth == 0 && strchr(",:]}", byte) != NULL) {
            return lw_line_problem(in, "a value is missing");
        }
        depth += byte == '[' || byte == '{';
        depth -= byte == ']' || byte == '}';
        if (depth > DEPTH_MAX) {
            return lw_line_problem(in, "values are nested too deeply");
        }
        in->at++;
        while (bare && in->at < in->end && strchr(",]} \t\r", *in->at) == NULL) {
            in->at++;
        }
    } while (depth > 0);
    return true;
}

bool lw_line_want_signed(lw_line *in, int64_t *number) {
    bool negative = lw_line_take(in, '-');
    uint64_t size;
    if (!lw_line_want_number(in, &size)) {
        return false;
    }
    *number = negative ? -(int64_t)size : (int64_t)size;
    return size <= INT64_MAX || lw_line_problem(in, "a number is above 63 bits");
}

bool lw_line_want_status(lw_line *in, int *status) {
    static const char *const names[] = {"ok", "fail", "info"};
    lw_bytes text;
    if (!lw_line_want_text(in, &text)) {
        return false;
    }
    for (*status = 0; *status < 3; ++*status) {
        if (lw_equal(text, lw_text(names[*status]))) {
            return true;
        }
    }
    return lw_line_problem(in, "\"status\" is ok, fail or info");
}

bool lw_line_want_object(lw_line *in, bool (*member)(void *argument, lw_line *in, lw_bytes name),
                         void *argument) {
    if (!lw_line_want(in, '{', "an object is wanted")) {
        return false;
    }
    if (lw_line_take(in, '}')) {
        return true;
    }
    do {
        lw_bytes name;
        if (!lw_line_want_text(in, &name) || !lw_line_want(in, ':', "a member has no value") ||
            !member(argument, in, name)) {
            return false;
        }
    } while (lw_line_take(in, ','));
    return lw_line_want(in, '}', "the object does not end with }");
}

bool lw_line_want_end(lw_line *in) {
    lw_line_skip_space(in);
    return in->at == in->end || lw_line_problem(in, "there is more behind the object");
}
