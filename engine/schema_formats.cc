#include "engine/schema_formats.h"

#include <algorithm>
#include <iterator>

namespace tern {
namespace {

#define TERN_TIME R"((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?)"
#define TERN_OFFSET R"((?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d))"
// Days that there are, of years from 1 on.
#define TERN_DATE                                                       \
  R"(^(?!0000)(?:\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|)" \
  R"((?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))|)"    \
  R"((?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
#define TERN_BYTE R"((?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d))"
#define TERN_IPV4 "(?:" TERN_BYTE R"(\.){3})" TERN_BYTE
#define TERN_WORD "[0-9A-Fa-f]{1,4}"
#define TERN_IPV6                                                                               \
  "(?:(?:" TERN_WORD ":){7}" TERN_WORD "|(?:" TERN_WORD ":){1,7}:|(?:" TERN_WORD                \
  ":){1,6}:" TERN_WORD "|(?:" TERN_WORD ":){1,5}(?::" TERN_WORD "){1,2}|(?:" TERN_WORD          \
  ":){1,4}(?::" TERN_WORD "){1,3}|(?:" TERN_WORD ":){1,3}(?::" TERN_WORD "){1,4}|(?:" TERN_WORD \
  ":){1,2}(?::" TERN_WORD "){1,5}|" TERN_WORD ":(?::" TERN_WORD "){1,6}|:(?:(?::" TERN_WORD     \
  "){1,7}|:))"
#define TERN_LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define TERN_URI_CHARACTER R"((?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2}))"
#define TERN_UUID(VERSION, VARIANT)                                   \
  "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-" VERSION "[0-9a-fA-F]{3}-" VARIANT \
  "[0-9a-fA-F]{3}-[0-9a-fA-F]{12}$"
#define TERN_UUID_OF(DIGIT) TERN_UUID(DIGIT, "[89abAB]")

// By RFC 3339, 4122, 5321, 2673, 4291 and 3986, without the forms that nobody writes.
constexpr SchemaFormat kFormats[] = {
    {"date", kSchemaString, TERN_DATE ")$", 0, 0},
    {"time", kSchemaString, "^" TERN_TIME TERN_OFFSET "$", 0, 0},
    {"date-time", kSchemaString, TERN_DATE ")T" TERN_TIME TERN_OFFSET "$", 0, 0},
    {"duration", kSchemaString,
     R"(^(?!P$)P(?:\d{1,6}W|(?:\d{1,6}Y(?:\d{1,6}M)?|\d{1,6}M)?(?:\d{1,6}D)?)"
     R"((?:T(?:\d{1,6}H(?:\d{1,6}M(?:\d{1,6}S)?)?|\d{1,6}M(?:\d{1,6}S)?|\d{1,6}S))?)$)",
     0, 0},
    {"email", kSchemaString,
     "^[A-Za-z0-9_%+-]+(?:[.][A-Za-z0-9_%+-]+)*@(?:" TERN_LABEL "[.])+[A-Za-z]{2,24}$", 0, 0},
    {"hostname", kSchemaString, "^" TERN_LABEL "(?:[.]" TERN_LABEL ")*$", 0, 0},
    {"ipv4", kSchemaString, "^" TERN_IPV4 "$", 0, 0},
    {"ipv6", kSchemaString, "^" TERN_IPV6 "$", 0, 0},
    {"ipvanyaddress", kSchemaString, "^(?:" TERN_IPV4 "|" TERN_IPV6 ")$", 0, 0},
    {"uri", kSchemaString,
     "^[A-Za-z][A-Za-z0-9+.-]*://(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?[.])*"
     "[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?::[1-9]\\d{0,3})?(?:/" TERN_URI_CHARACTER
     "*)?(?:[?]" TERN_URI_CHARACTER "*)?(?:#" TERN_URI_CHARACTER "*)?$",
     0, 0},
    {"uuid", kSchemaString, TERN_UUID("[0-9a-fA-F]", "[0-9a-fA-F]"), 0, 0},
    {"uuid1", kSchemaString, TERN_UUID_OF("1"), 0, 0},
    {"uuid3", kSchemaString, TERN_UUID_OF("3"), 0, 0},
    {"uuid4", kSchemaString, TERN_UUID_OF("4"), 0, 0},
    {"uuid5", kSchemaString, TERN_UUID_OF("5"), 0, 0},
    {"uuid6", kSchemaString, TERN_UUID_OF("6"), 0, 0},
    {"uuid7", kSchemaString, TERN_UUID_OF("7"), 0, 0},
    {"uuid8", kSchemaString, TERN_UUID_OF("8"), 0, 0},
    {"password", kSchemaString, "", 0, 0},
    {"binary", kSchemaString, "", 0, 0},
    {"path", kSchemaString, "", 0, 0},
    {"file-path", kSchemaString, "", 0, 0},
    {"directory-path", kSchemaString, "", 0, 0},
    {"float", kSchemaNumber, "", -1e300, 1e300},
    {"double", kSchemaNumber, "", -1e300, 1e300},
    {"int8", kSchemaNumber, "", -128, 127},
    {"int16", kSchemaNumber, "", -32768, 32767},
    {"int32", kSchemaNumber, "", -2147483648.0, 2147483647.0},
    {"int64", kSchemaNumber, "", -1e300, 1e300},  // wider than what numbers have digits for
    {"uint", kSchemaNumber, "", 0, 1e300},
    {"uint8", kSchemaNumber, "", 0, 255},
    {"uint16", kSchemaNumber, "", 0, 65535},
    {"uint32", kSchemaNumber, "", 0, 4294967295.0},
    {"uint64", kSchemaNumber, "", 0, 1e300},
};
// What a pattern says more of: the offset of a time (zod's have none).
constexpr SchemaFormat kTimeBesidePattern = {"time", kSchemaString, "", 0, 0};
constexpr SchemaFormat kOtherBesidePattern = {"", kSchemaString, "", 0, 0};

}  // namespace

const SchemaFormat* FindSchemaFormat(std::string_view name, bool beside_pattern) {
  if (beside_pattern && name == "time") return &kTimeBesidePattern;
  const auto* found = std::ranges::find(kFormats, name, &SchemaFormat::name);
  if (found != std::end(kFormats)) return found;
  return beside_pattern ? &kOtherBesidePattern : nullptr;
}

}  // namespace tern
