#include "server/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <utility>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "kernels/check.h"

namespace tern {
namespace {

std::string LastProblem() {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = ERR_reason_error_string(code);
  ERR_clear_error();
  return reason != nullptr ? reason : "an unknown problem";
}

std::shared_ptr<SSL_CTX> LoadContext(const std::string& certificate, const std::string& key) {
  // What cannot be read is said with the system's words, before OpenSSL says it in its own.
  ReadFile(certificate);
  ReadFile(key);
  ERR_clear_error();
  const std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  TERN_CHECK(context != nullptr);
  // A key with a password is an error, not a question on the terminal.
  SSL_CTX_set_default_passwd_cb(context.get(), [](char*, int, int, void*) { return -1; });
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  // The rest of a write may come from another place, as it does where Connection comes back for it.
  SSL_CTX_set_mode(context.get(),
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (SSL_CTX_use_certificate_chain_file(context.get(), certificate.c_str()) != 1) {
    throw BadFile({certificate, "certificate", "a certificate as PEM", LastProblem(),
                   "name the file that holds the server's certificate (--tls-cert)"});
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context.get()) != 1) {
    throw BadFile({key, "key", "the key of " + certificate + " as PEM, without a password",
                   LastProblem(), "name the file that holds the certificate's key (--tls-key)"});
  }
  return context;
}

}  // namespace

TlsSession::TlsSession(SSL_CTX* context, int socket) : ssl_(SSL_new(context)) {
  TERN_CHECK(ssl_ != nullptr);
  SSL_set_fd(ssl_, socket);
}

TlsSession::~TlsSession() { SSL_free(ssl_); }

TlsSession::Result TlsSession::ResultOf(int returned, size_t bytes) {
  if (returned > 0) return {Status::kDone, bytes};
  switch (SSL_get_error(ssl_, returned)) {
    case SSL_ERROR_WANT_READ:
      return {Status::kWaitToRead};
    case SSL_ERROR_WANT_WRITE:
      return {Status::kWaitToWrite};
    case SSL_ERROR_ZERO_RETURN:
      return {Status::kClosed};
    default:
      usable_ = false;
      return {Status::kFailed};
  }
}

// SSL_get_error looks into the thread's list of errors, where those of other sessions may lie.
TlsSession::Result TlsSession::Handshake() {
  ERR_clear_error();
  return ResultOf(SSL_accept(ssl_), 0);
}

TlsSession::Result TlsSession::Read(char* data, size_t size) {
  ERR_clear_error();
  size_t bytes = 0;
  const int returned = SSL_read_ex(ssl_, data, size, &bytes);
  return ResultOf(returned, bytes);
}

TlsSession::Result TlsSession::Write(const char* data, size_t size) {
  ERR_clear_error();
  size_t bytes = 0;
  const int returned = SSL_write_ex(ssl_, data, size, &bytes);
  return ResultOf(returned, bytes);
}

bool TlsSession::has_pending() const { return SSL_pending(ssl_) > 0; }

void TlsSession::Close() {
  ERR_clear_error();
  if (usable_ && SSL_is_init_finished(ssl_)) SSL_shutdown(ssl_);
}

TlsCertificate::TlsCertificate(std::string certificate_file, std::string key_file)
    : certificate_file_(std::move(certificate_file)),
      key_file_(std::move(key_file)),
      context_(LoadContext(certificate_file_, key_file_)) {}

void TlsCertificate::Reload() {
  std::shared_ptr<SSL_CTX> context = LoadContext(certificate_file_, key_file_);
  const std::lock_guard lock(mutex_);
  context_ = std::move(context);
}

std::unique_ptr<TlsSession> TlsCertificate::NewSession(int socket) const {
  const std::lock_guard lock(mutex_);
  return std::make_unique<TlsSession>(context_.get(), socket);  // which keeps the context
}

}  // namespace tern
