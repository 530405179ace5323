package pricingapi

import (
	"google.golang.org/protobuf/types/known/timestamppb"
)

// NewMakeQuoteRequest is a request as a typed call carries it.
func NewMakeQuoteRequest(customerID string, req QuoteRequest) *MakeQuoteRequest {
	out := &MakeQuoteRequest{CustomerId: customerID, RestaurantId: req.RestaurantID, Promotion: req.Promotion}
	for _, it := range req.Items {
		out.Items = append(out.Items, &MakeQuoteRequest_Line{ItemId: it.ItemID, Quantity: int32(it.Quantity), Options: it.Options})
	}
	if d := req.Dropoff; d != nil && d.Lat != nil && d.Lon != nil {
		out.Dropoff = &SignedQuote_Door{Lat: *d.Lat, Lon: *d.Lon, Address: d.Street}
	}
	return out
}

// Request is the inverse of NewMakeQuoteRequest, but for the customer.
func (m *MakeQuoteRequest) Request() QuoteRequest {
	out := QuoteRequest{RestaurantID: m.GetRestaurantId(), Promotion: m.GetPromotion()}
	for _, it := range m.GetItems() {
		out.Items = append(out.Items, ItemLine{ItemID: it.GetItemId(), Quantity: int(it.GetQuantity()), Options: it.GetOptions()})
	}
	if d := m.GetDropoff(); d != nil {
		lat, lon := d.GetLat(), d.GetLon()
		out.Dropoff = &Dropoff{Lat: &lat, Lon: &lon, Street: d.GetAddress()}
	}
	return out
}

// NewSignedQuote is a quote as typed calls answer it.
func NewSignedQuote(q Quote) *SignedQuote {
	out := &SignedQuote{
		Id: q.ID, CustomerId: q.CustomerID, RestaurantId: q.RestaurantID, RestaurantName: q.RestaurantName, Currency: q.Currency,
		Subtotal: q.Subtotal, DeliveryFee: q.DeliveryFee, SurgeBp: q.SurgeBP, SurgeFee: q.SurgeFee, Discount: q.Discount,
		Promotion: q.Promotion, Tax: q.Tax, Total: q.Total, ExpiresAt: timestamppb.New(q.ExpiresAt), Token: q.Token,
		Pickup:  &SignedQuote_Door{Lat: q.Pickup.Lat, Lon: q.Pickup.Lon, Address: q.Pickup.Address},
		Dropoff: &SignedQuote_Door{Lat: q.Dropoff.Lat, Lon: q.Dropoff.Lon, Address: q.Dropoff.Street},
	}
	for _, it := range q.Items {
		item := &SignedQuote_Item{ItemId: it.ItemID, Name: it.Name, Quantity: int32(it.Quantity), UnitPrice: it.UnitPrice, Total: it.Total}
		for _, o := range it.Options {
			item.Options = append(item.Options, &SignedQuote_Option{Id: o.ID, Name: o.Name, Price: o.Price})
		}
		out.Items = append(out.Items, item)
	}
	for _, p := range q.TaxParts {
		out.TaxParts = append(out.TaxParts, &SignedQuote_TaxPart{RateBp: p.RateBP, Gross: p.Gross, Tax: p.Tax})
	}
	return out
}

// Quote is the inverse of NewSignedQuote.
func (m *SignedQuote) Quote() Quote {
	out := Quote{
		ID: m.GetId(), CustomerID: m.GetCustomerId(), RestaurantID: m.GetRestaurantId(), RestaurantName: m.GetRestaurantName(), Currency: m.GetCurrency(),
		Subtotal: m.GetSubtotal(), DeliveryFee: m.GetDeliveryFee(), SurgeBP: m.GetSurgeBp(), SurgeFee: m.GetSurgeFee(), Discount: m.GetDiscount(),
		Promotion: m.GetPromotion(), Tax: m.GetTax(), Total: m.GetTotal(), ExpiresAt: m.GetExpiresAt().AsTime(), Token: m.GetToken(),
		Pickup:   PickupPlace{Lat: m.GetPickup().GetLat(), Lon: m.GetPickup().GetLon(), Address: m.GetPickup().GetAddress()},
		Dropoff:  DropoffPlace{Lat: m.GetDropoff().GetLat(), Lon: m.GetDropoff().GetLon(), Street: m.GetDropoff().GetAddress()},
		Items:    make([]Item, 0, len(m.GetItems())),
		TaxParts: make([]TaxPart, 0, len(m.GetTaxParts())),
	}
	for _, it := range m.GetItems() {
		item := Item{ItemID: it.GetItemId(), Name: it.GetName(), Quantity: int(it.GetQuantity()), UnitPrice: it.GetUnitPrice(), Total: it.GetTotal(),
			Options: make([]Option, 0, len(it.GetOptions()))}
		for _, o := range it.GetOptions() {
			item.Options = append(item.Options, Option{ID: o.GetId(), Name: o.GetName(), Price: o.GetPrice()})
		}
		out.Items = append(out.Items, item)
	}
	for _, p := range m.GetTaxParts() {
		out.TaxParts = append(out.TaxParts, TaxPart{RateBP: p.GetRateBp(), Gross: p.GetGross(), Tax: p.GetTax()})
	}
	return out
}
