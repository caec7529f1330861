/**
 * struct mmsghdr of sendmmsg(2) and recvmmsg(2) on x86-64, in words of four octets: a msghdr of 56
 * octets, then the length of the message; and what stands before a control message's value.
 */
export const MESSAGE_WORDS = 16
export const Message = {
  Name: 0,
  NameBytes: 2,
  Iov: 4,
  IovCount: 6,
  Control: 8,
  ControlBytes: 10,
  Flags: 12,
  Length: 14,
} as const
/** struct cmsghdr, octets. */
export const CMSG_HEADER = 16
