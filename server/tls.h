// TLS of accepted connections, through OpenSSL: a certificate with its key, and sessions on
// sockets that do not block.
#ifndef TERN_SERVER_TLS_H_
#define TERN_SERVER_TLS_H_

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>

using SSL = struct ssl_st;
using SSL_CTX = struct ssl_ctx_st;

namespace tern {

// One connection's encryption. Not thread-safe.
class TlsSession {
 public:
  enum class Status { kDone, kWaitToRead, kWaitToWrite, kClosed, kFailed };
  // What a call did: `bytes` of data where the status is kDone; to be called again once the socket
  // can be read or written; or the other side has ended the session, or the session is over.
  struct Result {
    Status status;
    size_t bytes = 0;
  };

  // For the server's side of `socket`, which does not block, outlives this and is not owned.
  TlsSession(SSL_CTX* context, int socket);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  Result Handshake();  // until kDone, before all else
  Result Read(char* data, size_t size);
  Result Write(const char* data, size_t size);
  // Bytes that have been decrypted and that Read would give without the socket.
  bool has_pending() const;
  void Close();  // tells the other side that no more comes; does not wait

 private:
  Result ResultOf(int returned, size_t bytes);

  SSL* ssl_;
  bool usable_ = true;  // no error that ends a session
};

// A certificate and its key. Thread-safe.
class TlsCertificate {
 public:
  // PEM files: the server's certificate with those above it, and the key. TLS 1.2 at least. Throws
  // Error where a file is missing or is none, or the key is another certificate's.
  TlsCertificate(std::string certificate_file, std::string key_file);

  // The files again, for sessions from now on. Throws Error, and what was read before stays.
  void Reload();
  std::unique_ptr<TlsSession> NewSession(int socket) const;

 private:
  const std::string certificate_file_, key_file_;
  mutable std::mutex mutex_;
  std::shared_ptr<SSL_CTX> context_;
};

}  // namespace tern

#endif  // TERN_SERVER_TLS_H_
