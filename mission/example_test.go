package mission_test

import (
	"fmt"
	"time"

	"github.com/mission-authority/mas/mission"
)

// A proposal is narrowed to a ceiling; what is left is inside both.
func ExampleDerive() {
	at := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	submission, err := mission.ParseSubmission([]byte(`{
		"intent": {
			"goal": "Reconcile the invoices of the third quarter",
			"resources": ["https://erp.example"],
			"expires_at": "2026-12-24T00:00:00Z"
		},
		"authorization_details": [{
			"type": "mission_resource_access",
			"resource": "https://erp.example",
			"actions": ["invoices.*", "journal.write"],
			"constraints": {"max_amount": {"amount": "1000", "currency": "USD"}}
		}]
	}`), at)
	if err != nil {
		fmt.Println(err)
		return
	}
	ceiling, err := mission.ParseEntries([]byte(`[{
		"type": "mission_resource_access",
		"resource": "https://erp.example",
		"actions": ["invoices.read"],
		"constraints": {"max_amount": {"amount": "500.00", "currency": "USD"}, "tenant": "t1"}
	}]`))
	if err != nil {
		fmt.Println(err)
		return
	}
	set, err := mission.Derive(submission.Intent, submission.Proposal, ceiling)
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := mission.Marshal(set[0].Constraints)
	fmt.Printf("%s %s %s %v\n", set[0].Resource, set[0].Actions, text, err)
	fmt.Println(mission.SubsetOfSet(set, submission.Proposal), mission.SubsetOfSet(set, ceiling))
	// Output:
	// https://erp.example [invoices.read] {"max_amount":{"amount":"500.00","currency":"USD"},"tenant":"t1"} <nil>
	// <nil> <nil>
}
