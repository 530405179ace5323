package problem

import (
	"net/http"
	"sort"
	"strings"
)

// Type names a kind of problem. Its URI is stable and is served, with its explanation, by the gateway.
type Type string

// The types. Each has a line in the catalogue below; a test holds that none is missing.
const (
	InvalidRequest     Type = "invalid-request"
	MalformedJSON      Type = "malformed-json"
	MissingKey         Type = "idempotency-key-missing"
	ReusedKey          Type = "idempotency-key-reused"
	Unauthenticated    Type = "unauthenticated"
	TokenExpired       Type = "token-expired"
	BadCredentials     Type = "bad-credentials"
	RefreshReused      Type = "refresh-token-reused"
	Forbidden          Type = "forbidden"
	NotFound           Type = "not-found"
	MethodNotAllowed   Type = "method-not-allowed"
	AlreadyExists      Type = "already-exists"
	IllegalState       Type = "illegal-state-change"
	WriteConflict      Type = "write-conflict"
	OfferLost          Type = "offer-lost"
	CourierBusy        Type = "courier-busy"
	TooLate            Type = "too-late"
	QuoteExpired       Type = "quote-expired"
	QuoteInvalid       Type = "quote-invalid"
	QuoteNotYours      Type = "quote-not-yours"
	PriceChanged       Type = "price-changed"
	UnknownItem        Type = "unknown-item"
	ItemUnavailable    Type = "item-unavailable"
	RestaurantClosed   Type = "restaurant-closed"
	OutOfRange         Type = "out-of-delivery-range"
	PromotionInvalid   Type = "promotion-invalid"
	PromotionExhausted Type = "promotion-exhausted"
	TooLarge           Type = "request-too-large"
	UnsupportedMedia   Type = "unsupported-media-type"
	UnknownVersion     Type = "unknown-version"
	RateLimited        Type = "rate-limited"
	Internal           Type = "internal"
	Unavailable        Type = "unavailable"
	Timeout            Type = "timeout"
)

type entry struct {
	status  int
	title   string
	meaning string
}

// catalogue is the one table from a kind of error to its status, title and explanation.
var catalogue = map[Type]entry{
	InvalidRequest:     {http.StatusBadRequest, "The request has faulty fields", "Every faulty field is listed under errors with the reason; correct them and send it again."},
	MalformedJSON:      {http.StatusBadRequest, "The body is not the JSON that is expected", "The body is empty, not JSON, has a field that does not exist, a value of the wrong type, or something after its end."},
	MissingKey:         {http.StatusBadRequest, "Idempotency-Key is missing", "A request that creates money or orders needs an Idempotency-Key header of 8 to 128 printable characters, new for each intent and the same for its retries."},
	ReusedKey:          {http.StatusUnprocessableEntity, "Idempotency-Key was used for another request", "The key belongs to an earlier request with another body. Use a new key for a new intent."},
	Unauthenticated:    {http.StatusUnauthorized, "A valid access token is needed", "No bearer token was sent, or it is malformed, forged or revoked."},
	TokenExpired:       {http.StatusUnauthorized, "The access token has expired", "Get a new one with the refresh token."},
	BadCredentials:     {http.StatusUnauthorized, "E-mail address or password is wrong", "The two do not belong together; which of them is wrong is not told."},
	RefreshReused:      {http.StatusUnauthorized, "The refresh token was used before", "A refresh token is good for one use. As this one was used twice, all tokens of its family are revoked: log in again."},
	Forbidden:          {http.StatusForbidden, "Not allowed for this account", "The account's role, or its restaurant, does not allow this."},
	NotFound:           {http.StatusNotFound, "There is no such thing", "It does not exist, or it belongs to somebody else."},
	MethodNotAllowed:   {http.StatusMethodNotAllowed, "The method is not allowed here", "See the Allow header."},
	AlreadyExists:      {http.StatusConflict, "It exists already", "Something with this name or address exists."},
	IllegalState:       {http.StatusConflict, "The state does not allow this", "The thing has moved on, for example the ticket was accepted before."},
	WriteConflict:      {http.StatusConflict, "Somebody else wrote at the same time", "Try again."},
	OfferLost:          {http.StatusConflict, "The offer is gone", "Another courier was faster, the offer has expired, or it was withdrawn."},
	CourierBusy:        {http.StatusConflict, "The courier carries an order already", "A courier carries one order at a time."},
	TooLate:            {http.StatusConflict, "It is too late for this", "An order can be cancelled until it is picked up."},
	QuoteExpired:       {http.StatusGone, "The quote has expired", "Ask for a new quote."},
	QuoteInvalid:       {http.StatusUnprocessableEntity, "The quote is not genuine", "The quote was altered or was not made here."},
	QuoteNotYours:      {http.StatusForbidden, "The quote belongs to another customer", "A quote is good for the customer who asked for it."},
	PriceChanged:       {http.StatusConflict, "A price has changed since the quote", "Ask for a new quote and show the new price."},
	UnknownItem:        {http.StatusUnprocessableEntity, "There is no such dish or option", "The restaurant's menu does not have it."},
	ItemUnavailable:    {http.StatusConflict, "A dish is sold out", "Choose another dish."},
	RestaurantClosed:   {http.StatusConflict, "The restaurant is closed", "See its opening hours."},
	OutOfRange:         {http.StatusUnprocessableEntity, "The address is too far away", "The restaurant does not deliver there."},
	PromotionInvalid:   {http.StatusUnprocessableEntity, "The promotion does not apply", "The code does not exist, has ended, or the order does not meet its conditions."},
	PromotionExhausted: {http.StatusConflict, "The promotion is used up", "Its limit, in all or for this customer, is reached."},
	TooLarge:           {http.StatusRequestEntityTooLarge, "The body is too large", "A body may have 64 KiB."},
	UnsupportedMedia:   {http.StatusUnsupportedMediaType, "The content type is not supported", "Send application/json."},
	UnknownVersion:     {http.StatusUnprocessableEntity, "The event is of a type or version that is not known here", "A newer release wrote it. Deploy a release that knows it, or have its owner write the older version, then replay it."},
	RateLimited:        {http.StatusTooManyRequests, "Too many requests", "Wait as long as Retry-After says."},
	Internal:           {http.StatusInternalServerError, "Something went wrong here", "It is logged under the trace id."},
	Unavailable:        {http.StatusServiceUnavailable, "Not available right now", "A part that is needed does not answer. Try again after Retry-After."},
	Timeout:            {http.StatusGatewayTimeout, "It took too long", "What was asked for may or may not have happened: ask, or repeat it with the same Idempotency-Key."},
}

// pathPrefix is where the gateway explains the types; the URI is relative to the API's own origin.
const pathPrefix = "/problems/"

// Status is the HTTP status that goes with the type.
func (t Type) Status() int {
	if e, ok := catalogue[t]; ok {
		return e.status
	}
	return http.StatusInternalServerError
}

// Title is the short summary that does not change from one occurrence to another.
func (t Type) Title() string { return catalogue[t].title }

// Meaning is the explanation for people, with what to do.
func (t Type) Meaning() string { return catalogue[t].meaning }

// URI is the type member of the problem document.
func (t Type) URI() string { return pathPrefix + string(t) }

// FromURI is the inverse of URI.
func FromURI(uri string) (Type, bool) {
	t := Type(strings.TrimPrefix(uri, pathPrefix))
	_, ok := catalogue[t]
	return t, ok
}

// FromStatus guesses a type for an answer that is no problem document, such as one of the sidecar.
func FromStatus(status int) Type {
	switch {
	case status == http.StatusNotFound:
		return NotFound
	case status == http.StatusForbidden:
		return Forbidden
	case status == http.StatusUnauthorized:
		return Unauthenticated
	case status == http.StatusTooManyRequests:
		return RateLimited
	case status == http.StatusRequestTimeout || status == http.StatusGatewayTimeout:
		return Timeout
	case status >= 500:
		return Unavailable
	default:
		return InvalidRequest
	}
}

// Types lists all types in the order of their names.
func Types() []Type {
	all := make([]Type, 0, len(catalogue))
	for t := range catalogue {
		all = append(all, t)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	return all
}
